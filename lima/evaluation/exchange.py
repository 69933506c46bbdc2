"""Exchange with public evaluations: answers and pairwise judgments of AlpacaEval, MT-Bench (FastChat) and Arena-Hard.

Answers of others are read by `lima.inference.recorded`. This module writes answers, and reads and writes judgments.

- AlpacaEval: `preference` is 1 for output_1, 2 for output_2 and 1.5 for a tie, also between these (a probability). The
  contestant is output_2, the rival output_1. The order shown is not recorded.
- MT-Bench: two games, with model_1 and then model_2 shown first. Grades of single answers from 1 to 10 are not read.
- Arena-Hard: two games, with the baseline and then the model shown first. "A>>B" and "A>B" are both a win of A.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from lima import jsonl
from lima.errors import LimaError
from lima.inference import recorded
from lima.jsonl import JsonObject
from lima.records import JudgeReply, Judgment, Prompt, Response

Format = Literal["alpaca-eval", "mt-bench", "arena-hard"]
FORMATS: tuple[Format, ...] = get_args(Format)
Key = tuple[str, str, int]  # contestant, prompt id, sample

ARENA_VALUES = {"A>>B": "first", "A>B": "first", "A=B": "tie", "B=A": "tie", "B>A": "second", "B>>A": "second"}
ARENA_SCORES = {"first": "A>B", "second": "B>A", "tie": "A=B"}
MT_BENCH_WINNERS = {"model_1", "model_2", "tie", "error"}


class RecordedJudgment(NamedTuple):
    judgment: Judgment
    texts: Mapping[str, str]  # the judged responses by contestant; only AlpacaEval's files have them


class PublicJudgment(NamedTuple):
    """A pairwise judgment of a public evaluation."""

    question: str  # id of the question; in AlpacaEval its instruction
    annotator: str
    contestant: str
    rival: str
    turn: int
    value: str | None
    reason: Literal["unparsed", "inconsistent"] | None
    detail: str = ""
    replies: tuple[JudgeReply, ...] = ()
    texts: Mapping[str, str] = {}  # see RecordedJudgment


def detect_judgments(row: JsonObject) -> Format | None:
    """The format of a file of judgments, from its first object; None if it is not one."""
    if {"instruction", "output_1", "output_2", "preference"} <= row.keys():
        return "alpaca-eval"
    if "games" in row and {"uid", "question_id"} & row.keys():
        return "arena-hard"
    if "question_id" in row and "judge" in row and ({"g1_winner", "g2_winner"} <= row.keys() or "score" in row):
        return "mt-bench"
    return None


def read_judgments(
    path: Path, prompts: Sequence[Prompt], *, evaluation: str, annotator: str | None = None, rival: str | None = None
) -> list[RecordedJudgment]:
    """Read recorded judgments of pairs, those of prompts of this project only.

    Args:
        annotator: its name; by default the judge's name in the file.
        rival: the baseline's name, if an Arena-Hard file does not have it.

    Raises:
        LimaError: an unknown format, single-answer grades, a missing rival, or no judgment of any of the prompts.
    """
    rows = jsonl.objects(path)
    form = detect_judgments(rows[0]) if rows else None
    if form is None:
        keys = ", ".join(sorted(rows[0])) if rows else "none"
        raise LimaError(
            f"{path} has an unknown format: its first object has the keys {keys}; the formats are AlpacaEval "
            "annotations, MT-Bench pairwise judgments and Arena-Hard judgments"
        )
    readers: dict[Format, Callable[[JsonObject], PublicJudgment]] = {
        "alpaca-eval": _from_alpaca_eval,
        "mt-bench": _from_mt_bench,
        "arena-hard": lambda row: _from_arena_hard(row, rival),
    }
    read = []
    for number, row in enumerate(rows, start=1):
        try:
            read.append(readers[form](row))
        except (KeyError, TypeError, ValueError) as error:
            raise jsonl.MalformedLine(
                f"{path}: judgment {number} cannot be read: {error!r}; correct the file"
            ) from error
    by_text = form == "alpaca-eval"
    questions = recorded.by_text(prompts) if by_text else {k: [v] for k, v in recorded.prompt_ids(prompts).items()}
    judgments = list(_of_prompts(read, questions, evaluation=evaluation, annotator=annotator))
    if not judgments:
        raise LimaError(
            f"none of the {len(rows)} judgments in {path} is about one of the {len(prompts)} prompts; check its ids or "
            "instructions"
        )
    return judgments


def _of_prompts(
    read: Iterable[PublicJudgment], prompts: Mapping[str, Sequence[str]], *, evaluation: str, annotator: str | None
) -> Iterator[RecordedJudgment]:
    """The judgments of prompts of this project. A repeated judgment of a pair is about its next sample.

    Args:
        prompts: ids of the prompts by the question of the file.
    """
    counts = Counter[tuple[str, str, str, str, int]]()
    for judgment in read:
        for prompt_id in prompts.get(judgment.question, ()):
            name = annotator or judgment.annotator
            pair = (name, prompt_id, judgment.contestant, judgment.rival, judgment.turn)
            record = Judgment(
                evaluation=evaluation,
                task="pairwise",
                annotator=name,
                prompt_id=prompt_id,
                sample=counts[pair],
                turn=judgment.turn,
                contestant=judgment.contestant,
                rival=judgment.rival,
                value=judgment.value,
                reason=judgment.reason,
                detail=judgment.detail,
                replies=judgment.replies,
            )
            counts[pair] += 1
            yield RecordedJudgment(record, judgment.texts)


def _from_alpaca_eval(row: JsonObject) -> PublicJudgment:
    preference = row["preference"]
    missing = preference is None or (isinstance(preference, float) and math.isnan(preference))
    if not missing and preference != 0 and not 1 <= preference <= 2:  # AlpacaFarm records a tie as 0
        raise ValueError(f"the preference {preference} is not between 1 and 2")
    value = None if missing else "tie" if preference in (0, 1.5) else "win" if preference > 1.5 else "lose"
    words = row.get("raw_completion", row.get("preference_raw_completion"))
    contestant, rival = str(row.get("generator_2") or "output_2"), str(row.get("generator_1") or "output_1")
    return PublicJudgment(
        question=recorded.instruction(row).strip(),
        annotator=str(row.get("annotator") or "alpaca-eval"),
        contestant=contestant,
        rival=rival,
        turn=0,
        value=value,
        reason="unparsed" if missing else None,
        detail=words if isinstance(words, str) else json.dumps(words, ensure_ascii=False) if words else "",
        texts={contestant: str(row["output_2"]), rival: str(row["output_1"])},
    )


def _from_mt_bench(row: JsonObject) -> PublicJudgment:
    if "g1_winner" not in row:
        raise LimaError(
            "MT-Bench grades of single answers have a scale from 1 to 10, which no task has; judge pairs instead "
            "(gen_judgment.py --mode pairwise-baseline or pairwise-all)"
        )
    models = [str(row["model_1"]), str(row["model_2"])]
    replies = []
    for game, first in enumerate(models, start=1):
        winner = row[f"g{game}_winner"]
        if winner not in MT_BENCH_WINNERS:
            raise ValueError(f"the winner {winner!r} is not one of {', '.join(sorted(MT_BENCH_WINNERS))}")
        preferred = {"model_1": models[0], "model_2": models[1]}.get(winner)
        side = None if winner == "error" else "tie" if preferred is None else _side(preferred, first)
        replies.append(_reply(first, side, row.get(f"g{game}_judgment")))
    value, reason = _combined(models[0], replies)
    return PublicJudgment(
        question=str(row["question_id"]),
        annotator=str(row["judge"][0] if isinstance(row["judge"], list) else row["judge"]),
        contestant=models[0],
        rival=models[1],
        turn=int(row.get("turn", 1)) - 1,
        value=value,
        reason=reason,
        replies=tuple(replies),
    )


def _from_arena_hard(row: JsonObject, rival: str | None) -> PublicJudgment:
    model, baseline = str(row["model"]), row.get("baseline") or rival
    if not baseline:
        raise LimaError("the file does not name the baseline model; name it with --rival")
    replies = []
    for first, game in zip((str(baseline), model), row["games"], strict=True):
        score, judgment = (game or {}).get("score"), (game or {}).get("judgment")
        words = judgment.get("answer") if isinstance(judgment, dict) else judgment
        replies.append(_reply(first, ARENA_VALUES.get(score or ""), words, detail=score or ""))
    value, reason = _combined(model, replies)
    return PublicJudgment(
        question=str(row.get("question_id", row.get("uid"))),
        annotator=str(row["judge"]),
        contestant=model,
        rival=str(baseline),
        turn=0,
        value=value,
        reason=reason,
        replies=tuple(replies),
    )


def _side(preferred: str, first: str) -> str:
    return "first" if preferred == first else "second"


def _reply(first: str, value: str | None, words: object, detail: str = "") -> JudgeReply:
    text = words if isinstance(words, str) else ""
    return JudgeReply(first=first, value=value, text=text, reason=None if value else "unparsed", detail=detail)


def _combined(
    contestant: str, replies: Sequence[JudgeReply]
) -> tuple[str | None, Literal["unparsed", "inconsistent"] | None]:
    """Value and reason: a win in one order and a tie in the other is a tie, as for the annotators here."""
    sides = {
        reply.value
        if reply.value in ("tie", None)
        else "win"
        if reply.value == _side(contestant, reply.first or "")
        else "lose"
        for reply in replies
    }
    if None in sides:
        return None, "unparsed"
    if sides == {"win", "lose"}:
        return None, "inconsistent"
    return "tie" if "tie" in sides else sides.pop(), None


# --- writing ---------------------------------------------------------------------------------------------------------


def questions(prompts: Iterable[Prompt], form: Format) -> list[dict[str, object]]:
    """The prompts as questions of a public evaluation, so that its tools can run contestants and judges on them."""
    match form:
        case "alpaca-eval":
            return [{"instruction": _single(prompt), "dataset": prompt.provenance.source} for prompt in prompts]
        case "mt-bench":
            return [
                {"question_id": prompt.id, "category": prompt.provenance.site, "turns": _user_turns(prompt)}
                for prompt in prompts
            ]
        case "arena-hard":
            return [
                {"uid": prompt.id, "category": prompt.provenance.site, "prompt": _single(prompt)} for prompt in prompts
            ]


def answers(responses: Sequence[Response], prompts: Sequence[Prompt], form: Format) -> list[dict[str, object]]:
    """The answers of one contestant in a public format; those to other prompts are left out.

    Raises:
        LimaError: a prompt of several turns, which AlpacaEval and Arena-Hard 2 cannot represent.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    shown = [response for response in responses if response.prompt_id in by_id]
    if form == "alpaca-eval":
        return [
            {
                "instruction": _single(by_id[response.prompt_id]),
                "output": response.text,
                "generator": response.contestant,
                "dataset": by_id[response.prompt_id].provenance.source,
            }
            for response in shown
        ]
    if form == "arena-hard":
        return [
            {
                "uid": response.prompt_id,
                "ans_id": f"{response.contestant}/{response.prompt_id}/{response.sample}",
                "model": response.contestant,
                "messages": [
                    {"role": "user", "content": _single(by_id[response.prompt_id])},
                    {"role": "assistant", "content": {"answer": response.text}},
                ],
                "metadata": {"token_len": response.tokens},
            }
            for response in shown
        ]
    choices: dict[tuple[str, str], dict[int, list[str]]] = {}
    for response in sorted(shown, key=lambda response: (response.sample, response.turn)):
        samples = choices.setdefault((response.contestant, response.prompt_id), {})
        samples.setdefault(response.sample, []).append(response.text)
    order = {prompt_id: number for number, prompt_id in enumerate(by_id)}
    return [
        {
            "question_id": prompt_id,
            "answer_id": f"{contestant}/{prompt_id}",
            "model_id": contestant,
            "choices": [{"index": index, "turns": turns} for index, turns in enumerate(samples.values())],
        }
        for (contestant, prompt_id), samples in sorted(choices.items(), key=lambda entry: order[entry[0][1]])
    ]


def judgment_rows(
    judgments: Sequence[Judgment], prompts: Sequence[Prompt], texts: Mapping[Key, str], form: Format
) -> list[dict[str, object]]:
    """Judgments of pairs in a public format.

    Args:
        texts: the responses; only AlpacaEval's format contains them.

    Raises:
        LimaError: a judgment of another task, of an unknown prompt, or without its responses (AlpacaEval).
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    for judgment in judgments:
        if judgment.task != "pairwise":
            raise LimaError(f"judgments of the task {judgment.task} cannot be exported; the formats are of pairs")
        if judgment.prompt_id not in by_id:
            raise LimaError(f"judgment of an unknown prompt: {judgment.prompt_id}; name its file with --prompts")
    match form:
        case "alpaca-eval":
            return [_to_alpaca_eval(judgment, by_id[judgment.prompt_id], texts) for judgment in judgments]
        case "mt-bench":
            return [_to_mt_bench(judgment) for judgment in judgments]
        case "arena-hard":
            return [_to_arena_hard(judgment) for judgment in judgments]


def _to_alpaca_eval(judgment: Judgment, prompt: Prompt, texts: Mapping[Key, str]) -> dict[str, object]:
    sides = []
    for name in (judgment.rival or "", judgment.contestant):
        key = (name, judgment.prompt_id, judgment.sample)
        if key not in texts:
            raise LimaError(f"no response of {name} to prompt {judgment.prompt_id}; name its file with --responses")
        sides.append(texts[key])
    return {
        "instruction": _single(prompt),
        "dataset": prompt.provenance.source,
        "output_1": sides[0],
        "generator_1": judgment.rival,
        "output_2": sides[1],
        "generator_2": judgment.contestant,
        "annotator": judgment.annotator,
        "preference": {"win": 2.0, "lose": 1.0, "tie": 1.5}.get(judgment.value or ""),
        "raw_completion": judgment.detail or "\n\n".join(reply.text for reply in judgment.replies if reply.text),
    }


def _to_mt_bench(judgment: Judgment) -> dict[str, object]:
    by_first = _by_first(judgment)
    row: dict[str, object] = {
        "question_id": judgment.prompt_id,
        "model_1": judgment.contestant,
        "model_2": judgment.rival,
        "judge": [judgment.annotator, "lima"],
        "turn": judgment.turn + 1,
    }
    names = (judgment.contestant, judgment.rival or "")
    for game, first in enumerate(names, start=1):
        reply = by_first[first]
        second = names[1] if first == names[0] else names[0]
        preferred = {"first": first, "second": second}.get(reply.value or "")
        winner = (
            "error" if reply.value is None else "tie" if preferred is None else f"model_{names.index(preferred) + 1}"
        )
        row |= {f"g{game}_winner": winner, f"g{game}_judgment": reply.text}
    return row


def _to_arena_hard(judgment: Judgment) -> dict[str, object]:
    by_first = _by_first(judgment)
    games = [by_first[judgment.rival or ""], by_first[judgment.contestant]]
    return {
        "uid": judgment.prompt_id,
        "model": judgment.contestant,
        "baseline": judgment.rival,
        "judge": judgment.annotator,
        "games": [
            {
                "score": reply.detail if reply.detail in ARENA_VALUES else ARENA_SCORES.get(reply.value or ""),
                "judgment": {"answer": reply.text},
            }
            for reply in games
        ],
    }


def _by_first(judgment: Judgment) -> dict[str, JudgeReply]:
    """The replies by the contestant shown first. Without replies of both orders, the value is that of both."""
    replies = {reply.first: reply for reply in judgment.replies}
    names = (judgment.contestant, judgment.rival or "")
    if set(replies) >= set(names):
        return {name: replies[name] for name in names}
    same = {"win": ("first", "second"), "lose": ("second", "first"), "tie": ("tie", "tie")}
    values = same.get(judgment.value or "", (None, None))
    return {name: _reply(name, value, judgment.detail) for name, value in zip(names, values, strict=True)}


def _single(prompt: Prompt) -> str:
    if [turn.role for turn in prompt.messages] != ["user"]:
        raise LimaError(
            f"prompt {prompt.id} has {len(prompt.messages)} turns, and the format has one; export it as mt-bench"
        )
    return prompt.messages[0].content


def _user_turns(prompt: Prompt) -> list[str]:
    return [turn.content for turn in prompt.messages if turn.role == "user"]


def write(path: Path, rows: Sequence[JsonObject], form: Format) -> int:
    """Write objects in a format's file type: AlpacaEval one JSON array, the others one object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "alpaca-eval":
        text = json.dumps(rows, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return len(rows)


# --- files -----------------------------------------------------------------------------------------------------------


def export_file(
    source: Path, out: Path, form: Format, *, prompts: Sequence[Prompt], responses: Sequence[Path] = ()
) -> str:
    """Write the responses or judgments of a file of this project in a public format; return a summary.

    Args:
        responses: files with the judged responses, for AlpacaEval's judgments.

    Raises:
        LimaError: the file has neither responses nor judgments.
    """
    rows = jsonl.objects(source)
    if rows and recorded.detect(rows[0]) == "lima":
        written = write(out, answers(list(jsonl.read(source, Response)), prompts, form), form)
        return f"{written} answers in {out}"
    if rows and {"evaluation", "annotator", "replies"} <= rows[0].keys():
        judged = [r for path in responses for r in jsonl.read(path, Response)]
        texts = {(r.contestant, r.prompt_id, r.sample): r.text for r in judged if r.turn == 0}
        written = write(out, judgment_rows(list(jsonl.read(source, Judgment)), prompts, texts, form), form)
        return f"{written} judgments in {out}"
    raise LimaError(
        f"{source} has neither responses nor judgments; name a file such as data/sample/CONTESTANT/responses.jsonl or "
        "data/judge/EVALUATION/ANNOTATOR/judgments.jsonl"
    )


def import_file(
    source: Path, out: Path, *, prompts: Sequence[Prompt], name: str | None, evaluation: str, rival: str | None
) -> str:
    """Write the answers or judgments of a public format as records of this project; return a summary.

    Args:
        name: of the contestant or annotator; by default the stem of the file or the judge's name in it.
    """
    rows = jsonl.objects(source)
    if rows and detect_judgments(rows[0]):
        found = read_judgments(source, prompts, evaluation=evaluation, annotator=name, rival=rival)
        judgments = [recorded_judgment.judgment for recorded_judgment in found]
        jsonl.write(out, judgments)
        return f"{len(judgments)} of {len(rows)} judgments are about prompts of the set; written to {out}"
    responses = recorded.read(source, prompts, contestant=name or source.stem)
    jsonl.write(out, responses)
    answered = len({response.prompt_id for response in responses})
    return f"{len(responses)} responses to {answered} of {len(prompts)} prompts; written to {out}"
