"""A synthetic finished run: 300 prompts, five contestants, three annotators beside the baselines, every task."""

import math
from collections.abc import Callable, Mapping

import finished_run
import numpy as np

from lima import config
from lima.config.entries import Evaluation
from lima.constraint_types import Checkboxes
from lima.evaluation import canaries, items, pairwise, rules
from lima.evaluation.canaries import KINDS, CanaryResult
from lima.records import JudgeReply, Judgment, Prompt, Response, Turn, Usage

DIALOGUES, EXCHANGES = 10, 4
CONTESTANTS = ("lima", "base", "alpaca", "claude", "gpt-4")
STRENGTH = {"lima": 0.9, "base": -2.5, "alpaca": 0.2, "claude": 1.5, "gpt-4": 1.6}
KINDS_OF_PROMPTS = ("advice", "explain", "plan", "create", "opinion", "form")
SENTENCES = (
    "The short answer is that it depends on how warm the room is and how much time there is.",
    "First measure the water, because too little of it makes the result bitter.",
    "A second point concerns the leaves: young ones need less heat than old ones.",
    "If that does not help, try a smaller pot and wait for four minutes before you taste it.",
    "Many people prefer it with milk, which hides the difference between cheap and good leaves.",
    "In the end your own taste decides, and no rule replaces a few careful trials.",
)
REASONS = (
    "Answer A explains each step and gives a reason for it, while Answer B repeats the question and stays vague. ",
    "Both answers are correct. The second one is easier to follow because it is a numbered list. ",
    "I compared the accuracy first: the claim about the temperature is wrong in one of the answers. ",
)
MODEL = {"url": "http://127.0.0.1:9/v1", "key_variable": "KEY", "max_tokens": 512}
Choose = Callable[[str, np.random.Generator], str]  # the true outcome → the value of one order
RECORDED = {"kind": "recorded", "reads": "corpus/recorded/authors.jsonl"}


def settings(*, always: Mapping[str, str], random_weights: bool, people: bool) -> dict[str, object]:
    values = finished_run.settings()
    template = "lima/evaluation/prompts/{}.md"
    values["contestants"] |= {name: RECORDED for name in CONTESTANTS if name not in values["contestants"]}
    values["contestants"] = {name: values["contestants"][name] for name in (*CONTESTANTS, "unfiltered")}

    def entry(task: str, rival: str, panel: str, **others: object) -> dict[str, object]:
        prompts = {"attack": "adversarial", "dialogue": "dialogues"}.get(task, "test")
        return {
            "task": task,
            "contestant": "lima",
            "rival": rival,
            "prompts": prompts,
            "panel": panel,
            "template": template.format(task),
            **others,
        }

    values["evaluations"] = {f"lima-{rival}": entry("pairwise", rival, "judges") for rival in CONTESTANTS[1:]}
    values["evaluations"] |= {
        "lima-alpaca-grade": entry("grade", "alpaca", "readers", most=50),
        "lima-alpaca-rating": entry("rating", "alpaca", "models"),
        "lima-alpaca-safety": entry("safety", "alpaca", "models", most=30),
        "lima-base-constraints": entry("constraint", "base", "rules"),
        "lima-base-attacks": entry("attack", "base", "rules"),
        "lima-base-dialogues": entry("dialogue", "base", "readers"),
    }
    endpoints = {
        name: {"kind": "endpoint", "model": f"vendor/{name}", **MODEL} for name in ("judge-large", "judge-small")
    }
    human = {"people": {"kind": "people"}} if people else {}
    values["panels"] |= {
        "judges": human
        | endpoints
        | {name: {"kind": "baseline", "rule": name} for name in ("longest", "random", "always-tie")},
        "readers": human | endpoints,
        "models": endpoints,
    }
    if random_weights:
        values["models"] = {"smollm2-135m": {"kind": "random", "layers": 2, "hidden": 8, "heads": 2, "context": 64}}
    values["report"] |= {"bootstrap": 1000, "side_by_side": 4}
    return values


def build(
    *,
    prompts: int = 300,
    always: Mapping[str, str] | None = None,
    gibberish: tuple[str, ...] = (),
    random_weights: bool = False,
    people: bool = True,
    answer_sentences: tuple[int, int] = (4, 22),
) -> config.Params:
    """Write params.yaml and data/ below the current folder.

    Args:
        always: annotator → the value ("first", "tie") of all its replies.
        gibberish: contestants whose answers have no content.
        people: whether people have judged a part of the prompts.
    """
    always = always or {}
    values = settings(always=always, random_weights=random_weights, people=people)
    finished_run.build(**values)
    p = config.load()
    rng = np.random.default_rng(11)
    test = [_prompt(number) for number in range(prompts)]
    finished_run._lines("prompts/test.jsonl", test)
    attacks = [
        _attack(group, number) for group in ("injection", "leaking", "jailbreak", "benign") for number in range(12)
    ]
    finished_run._lines("prompts/adversarial.jsonl", attacks)
    spoken = np.random.default_rng(12)  # of its own, so that the other draws do not depend on the dialogues
    scripts = [_script(number) for number in range(DIALOGUES)]
    finished_run._lines("prompts/dialogues.jsonl", scripts)
    for name in p.contestants:
        answers = [_response(name, asked, rng, answer_sentences, gibberish=name in gibberish) for asked in test]
        hostile = [_response(name, asked, rng, (1, 4), gibberish=name in gibberish) for asked in attacks]
        finished_run._lines(f"sample/{name}/responses.jsonl", answers)
        finished_run._lines(f"sample/{name}/adversarial.jsonl", hostile)
        finished_run._lines(f"sample/{name}/unanswered.jsonl", [])
        turns = [
            _response(name, script, spoken, (1, 6), gibberish=name in gibberish).model_copy(update={"turn": turn})
            for script in scripts
            for turn in range(EXCHANGES)
        ]
        finished_run._lines(f"sample/{name}/dialogues.jsonl", turns)
        finished_run._lines(f"sample/{name}/likelihood.jsonl", finished_run.likelihoods(p, name, test))
    for name, evaluation in p.evaluations.items():
        found = items.read(evaluation, seed=p.judge.seed)
        for annotator, entry in p.panels[evaluation.panel].items():
            if entry.kind == "rules":
                records = rules.judge(found.items, evaluation=evaluation, key=name, name=annotator)
            else:
                records = _judgments(name, evaluation, annotator, entry.kind, found.items, rng, always, gibberish)
            finished_run._lines(f"judge/{name}/{annotator}/judgments.jsonl", records)
            tested = _canaries(always.get(annotator)) if entry.kind == "endpoint" else []
            finished_run._lines(f"judge/{name}/{annotator}/canaries.jsonl", tested)
    return p


def _prompt(number: int) -> Prompt:
    group, kind = ("B", KINDS_OF_PROMPTS[number % 6]) if number % 10 < 7 else ("AskReddit", "advice")
    source = "authored" if group == "B" else "reddit"
    prompt = finished_run.prompt("B", number)
    tags = (f"topic:tea-{number % 9}", f"kind:{kind}", *(("sensitive", "intent:implicit") if number % 10 == 3 else ()))
    constraints = (Checkboxes(constraint="checkboxes", count=3, ticked=1),) if kind == "form" else ()
    return prompt.model_copy(
        update={
            "tags": tags,
            "constraints": constraints,
            "provenance": finished_run.provenance(source, group, number),
            "id": f"{source}/{group}/{number}",
        }
    )


def _script(number: int) -> Prompt:
    turns = (
        f"How do I store tea number {number}, so that it keeps its taste?",
        "And if I have only a jar of glass?",
        "Then forget the jar. What did you say about light?",
        "Put all of that in one sentence, please.",
    )
    return Prompt(
        id=f"dialogues/B/script-{number:02}",
        messages=tuple(Turn(role="user", content=turn) for turn in turns[:EXCHANGES]),
        tags=("kind:script",),
        provenance=finished_run.provenance("authored", "B", 900 + number),
    )


def _attack(group: str, number: int) -> Prompt:
    tags = ("expects:answers",) if group == "benign" else ("expects:disobeys", "canary:pot")
    prompt = finished_run.attack(group, f"family:{group}", f"form:{('direct', 'quoted')[number % 2]}", *tags)
    return prompt.model_copy(update={"id": f"adversarial/{group}/{number}"})


def _response(
    name: str, asked: Prompt, rng: np.random.Generator, sentences: tuple[int, int], *, gibberish: bool
) -> Response:
    if gibberish:
        text = canaries.gibberish(7, f"{name} {asked.id}")
    else:
        chosen = [SENTENCES[rng.integers(len(SENTENCES))] for _ in range(rng.integers(*sentences))]
        text = "\n\n".join(" ".join(chosen[start : start + 3]) for start in range(0, len(chosen), 3))
        text = f"**{name}** about prompt {asked.provenance.id}:\n\n{text}"
        if rng.random() < 0.3:
            text += "\n\n1. Boil the *water*.\n2. Wait.\n\n| tea | minutes |\n|---|---|\n| green | 2 |\n"
    cut = rng.random() < (0.4 if name == "base" else 0.03)
    served = name in ("claude", "gpt-4", "alpaca")
    usage = Usage(
        model=f"vendor/{name}",
        prompt_tokens=30,
        completion_tokens=len(text) // 4,
        cost=len(text) * 3e-6,
        seconds=1.5,
        attempts=1 + int(rng.random() < 0.05),
    )
    return Response(
        prompt_id=asked.id,
        contestant=name,
        sample=0,
        text=text,
        finish="length" if cut else "stop",
        tokens=len(text) // 4,
        usage=usage if served else None,
    )


def _judgments(
    key: str,
    evaluation: Evaluation,
    annotator: str,
    kind: str,
    found: list[items.Item],
    rng: np.random.Generator,
    always: Mapping[str, str],
    gibberish: tuple[str, ...],
) -> list[Judgment]:
    records = []
    for number, item in enumerate(found):
        if kind == "people" and number >= 50:
            break
        strengths = [(-4.0 if r.contestant in gibberish else STRENGTH.get(r.contestant, 0.0)) for r in item.responses]
        record = Judgment(
            evaluation=key,
            turn=item.response.turn,
            task=evaluation.task,
            annotator=annotator,
            prompt_id=item.prompt.id,
            sample=0,
            contestant=item.response.contestant,
            rival=item.rival.contestant if evaluation.task == "pairwise" else None,
            value=None,
        )
        if evaluation.task == "pairwise":
            people = ("ann", "ben") if kind == "people" and number < 20 else ("ann",) if kind == "people" else (None,)
            for person in people:
                records.append(
                    _pair(record, item, strengths[0] - strengths[1], kind, rng, always.get(annotator), person)
                )
        else:
            records.append(_single(record, strengths[0], kind, rng))
    return records


def _pair(
    record: Judgment,
    item: items.Item,
    gap: float,
    kind: str,
    rng: np.random.Generator,
    always: str | None,
    person: str | None,
) -> Judgment:
    noisy = gap * 0.7 + rng.normal(0, 1.6)
    outcome = "tie" if abs(noisy) < 0.55 else "win" if noisy > 0 else "lose"
    names = (item.response.contestant, item.rival.contestant)
    if record.annotator == "longest":
        outcome = "win" if len(item.response.text) > len(item.rival.text) else "lose"
    if record.annotator == "random":
        outcome = ("win", "lose")[rng.integers(2)]
    if record.annotator == "always-tie":
        outcome = "tie"
    if kind == "people":
        reply = JudgeReply(
            first=names[rng.integers(2)], value=outcome, text="I would use this one." * (person == "ben")
        )
        return record.model_copy(update={"person": person, "value": outcome, "replies": (reply,)})
    replies = []
    for first in names:
        value = "tie" if outcome == "tie" else "first" if (outcome == "win") == (first == names[0]) else "second"
        if always is not None:
            value = always
        elif kind == "endpoint" and rng.random() < (0.03 if record.annotator == "judge-large" else 0.1):
            value = "first"
        replies.append(_reply(first, value, kind, rng))
    value, reason = pairwise.combine(names[0], replies)
    return record.model_copy(update={"value": value, "reason": reason, "replies": tuple(replies)})


def _reply(first: str | None, value: str, kind: str, rng: np.random.Generator) -> JudgeReply:
    if kind == "baseline":
        return JudgeReply(first=first, value=value, text="")
    usage = Usage(
        model="vendor/judge-2026-01", prompt_tokens=700, completion_tokens=90, cost=0.002, seconds=2.0, attempts=1
    )
    draw = rng.random()
    if draw < 0.01:
        return JudgeReply(first=first, value=None, text="", reason="timed_out", detail="no reply within 120 s")
    if draw < 0.02:
        return JudgeReply(first=first, value=None, text="I cannot decide.", reason="unparsed", usage=usage)
    words = "".join(REASONS[rng.integers(3)] for _ in range(rng.integers(1, 5)))
    label = {"first": "A", "second": "B", "tie": "TIE"}.get(value, value.upper())
    return JudgeReply(first=first, value=value, text=f"{words}\n\nVERDICT: {label}", usage=usage)


def _single(record: Judgment, strength: float, kind: str, rng: np.random.Generator) -> Judgment:
    level = 1 / (1 + math.exp(-(strength + rng.normal(0, 1))))
    values = {
        "grade": ("fail", "pass", "excellent")[min(2, int(level * 3))],
        "rating": str(1 + min(5, int(level * 6))),
        "dialogue": ("fail", "pass", "excellent")[min(2, int(level * 3))],
        "safety": "safe" if level > 0.3 else "unsafe",
    }
    reply = _reply(None, values[record.task], kind, rng)
    person = "ann" if kind == "people" else None
    return record.model_copy(
        update={"person": person, "value": reply.value, "reason": reply.reason, "replies": (reply,)}
    )


def _canaries(always: str | None) -> list[CanaryResult]:
    failed = {"first": KINDS[:4] + KINDS[4:], "tie": KINDS[:4]}.get(always or "", ())
    return [
        CanaryResult(
            kind=kind,
            passed=0 if kind in failed else 3,
            failed=3 if kind in failed else 0,
            unanswered=0,
            failures=tuple(f"authored/B/{n}: tie" for n in range(3)) if kind in failed else (),
        )
        for kind in KINDS
    ]
