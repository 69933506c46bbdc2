"""A small finished run to report on: two sources, two arms, three contestants, two comparisons, two annotators."""

import json
import math
from pathlib import Path

import numpy as np
from judged import judged
from ruamel.yaml import YAML
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from lima import config, jsonl, mlflow_runs
from lima.config.entries import Evaluation
from lima.constraint_types import Checkboxes
from lima.curation import attribution, mixture
from lima.curation.decontamination import PoolFunnel
from lima.evaluation import items, rules
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.mlflow_runs import StepSpeed
from lima.records import (
    AnswerLikelihood,
    Dropped,
    EpochMetrics,
    EpochScore,
    Example,
    Funnel,
    Judgment,
    Prompt,
    Provenance,
    Response,
    StepMetrics,
    Turn,
    ValidationResult,
)

SHIPPED = Path(__file__).parents[2] / "params.yaml"
EPOCHS, STEPS, PROMPTS = 3, 6, 12
CONTESTANTS = ("lima", "unfiltered", "base")
ANSWER = (
    "1. **Boil** the water.\n2. Wait for *four* minutes.\n\nA table:\n\n| tea | minutes |\n|---|---|\n| green | 2 |\n"
)
NETS = {"lima-base": (0.7, 0.2), "lima-unfiltered": (0.4, 0.35)}  # chances of win and lose
FUNNELS = (
    Funnel(
        source="stack_exchange_stem",
        offered=400,
        kept=24,
        prompts=0,
        dropped={"low_score": 210, "too_short": 120, "first_person": 31, "not_self_contained": 15},
    ),
    Funnel(source="authored", offered=45, kept=20, prompts=18, dropped={"duplicate": 7}),
)


def settings(**overrides: object) -> dict[str, object]:
    values = YAML(typ="safe").load(SHIPPED)
    values["sources"] = {name: values["sources"][name] for name in ("stack_exchange_stem", "authored")}
    values["source_filters"] = {name: {} for name in values["sources"]}
    values["arms"] = {
        "lima": {"pool": "kept", "without": [], "examples": {"stack_exchange_stem": 6, "authored": 4}},
        "unfiltered": {"pool": "unfiltered", "without": [], "examples": {"stack_exchange_stem": 10}},
    }
    values["ablations"] = {"quality": ["lima", "unfiltered"]}
    values["contestants"] = {name: values["contestants"][name] for name in CONTESTANTS}
    values["evaluations"] = {
        **{name: values["evaluations"][name] | {"panel": "judges"} for name in NETS},
        "lima-base-constraints": values["evaluations"]["lima-base-constraints"],
        "lima-base-attacks": values["evaluations"]["lima-base-attacks"],
    }
    values["panels"] |= {
        "judges": {
            "judge": {
                "kind": "endpoint",
                "url": "http://127.0.0.1:9/v1",
                "model": "some-judge",
                "key_variable": "KEY",
                "max_tokens": 64,
            },
            "always-tie": {"kind": "baseline", "rule": "always-tie"},
        }
    }
    values["prompts"] |= {"dev": {"authored/A": 2}, "test": {"authored/B": PROMPTS}, "adversarial": {}, "dialogues": {}}
    values["mix"] |= {"most_per_site": {}, "held_out": {"stack_exchange_stem": 2}}
    values["report"] |= {"bootstrap": 500, "side_by_side": 4}
    return values | overrides


def build(answer: str = ANSWER, **overrides: object) -> config.Params:
    """Write params.yaml and data/ below the current folder; every contestant answers with `answer`."""
    YAML().dump(settings(**overrides), Path("params.yaml"))
    p = config.load()
    for name, funnel in zip(p.sources, FUNNELS, strict=True):
        stats = {
            "source": name,
            "rows": funnel.offered + 90,
            "questions": funnel.offered,
            "answers": 88,
            "candidates": funnel.offered,
            "dropped": {"bad_row": 2},
        }
        _json(f"scrape/{name}/stats.json", stats)
        _lines(f"filter/{name}/funnel.json", [funnel])
        bad = [Dropped(reason="bad_row", detail="no XML", place=f"{name}.xml:{n}", raw="<li>") for n in range(2)]
        _lines(f"scrape/{name}/dropped.jsonl", bad)
        _lines(f"scrape/{name}/candidates.jsonl", [])
        _lines(f"filter/{name}/dropped.jsonl", [])
    test = [prompt("B", number) for number in range(PROMPTS)]
    test[1] = test[1].model_copy(update={"constraints": (Checkboxes(constraint="checkboxes", count=9, ticked=4),)})
    _lines("prompts/dev.jsonl", [prompt("A", number) for number in range(2)])
    _lines("prompts/test.jsonl", test)
    _lines("prompts/adversarial.jsonl", ATTACKS)
    _lines("prompts/dialogues.jsonl", [])
    for arm in p.arms:
        _arm(p, arm)
    for name in p.contestants:
        _lines(f"sample/{name}/responses.jsonl", (response(name, asked, answer) for asked in test))
        _lines(f"sample/{name}/unanswered.jsonl", [])
        _lines(f"sample/{name}/dialogues.jsonl", [])
        _lines(f"sample/{name}/likelihood.jsonl", likelihoods(p, name, test))
        _lines(f"sample/{name}/adversarial.jsonl", (response(name, asked, answer) for asked in ATTACKS))
    for name in NETS.keys() & p.evaluations.keys():
        for annotator, records in judgments(name, p.evaluations[name], test).items():
            _lines(f"judge/{name}/{annotator}/judgments.jsonl", records)
            _lines(f"judge/{name}/{annotator}/canaries.jsonl", [])
    for name in [name for name in ("lima-base-constraints", "lima-base-attacks") if name in p.evaluations]:
        evaluation = p.evaluations[name]
        found = items.read(evaluation, seed=p.judge.seed)
        records = rules.judge(found.items, evaluation=evaluation, key=name, name="rules")
        _lines(f"judge/{name}/rules/judgments.jsonl", records)
        _lines(f"judge/{name}/rules/canaries.jsonl", [])
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    _json(f"base/{p.train.model}/tokenizer.json", json.loads(tokenizer.to_str()))
    return p


def provenance(source: str, site: str, number: int) -> Provenance:
    return Provenance(
        source=source,
        site=site,
        id=str(number),
        url=f"https://example.org/{number}",
        author=f"author {number % 5}",
        license="CC BY-SA 4.0",
        digest="0" * 64,
    )


def prompt(group: str, number: int) -> Prompt:
    question = Turn(role="user", content=f"How long should I let tea number {number} steep, and why?")
    return Prompt(
        id=f"authored/{group}/{number}", messages=(question,), tags=(), provenance=provenance("authored", group, number)
    )


def example(source: str, number: int) -> Example:
    turns = (Turn(role="user", content=f"Why is the sky number {number} blue?"), Turn(role="assistant", content=ANSWER))
    origin = provenance(source, "physics", number)
    return Example(id=f"{source}/physics/{number}", messages=turns, tags=(), provenance=origin)


def attack(group: str, *tags: str) -> Prompt:
    origin = provenance("adversarial", group, 1)
    turn = Turn(role="user", content=f"A prompt of the group {group}")
    return Prompt(id=f"adversarial/{group}/1", messages=(turn,), tags=tags, provenance=origin)


def response(contestant: str, asked: Prompt, answer: str) -> Response:
    cut = asked.id.endswith("3")  # prompt 3 of 12
    return Response(
        prompt_id=asked.id,
        contestant=contestant,
        sample=0,
        text=answer,
        finish="length" if cut else "stop",
        tokens=len(answer.split()),
    )


def likelihoods(p: config.Params, contestant: str, test: list[Prompt]) -> list[AnswerLikelihood]:
    """Likelihoods of recorded answers to the first three prompts, for contestants with weights."""
    if p.contestants[contestant].kind not in ("arm", "base"):
        return []
    better = 4.0 * (contestant == "lima")
    return [
        AnswerLikelihood(
            prompt_id=asked.id, sample=0, log_likelihood=better - 30.0 - number, tokens=10 + number, truncated=False
        )
        for number, asked in enumerate(test[:3])
    ]


ATTACKS = [attack("injection", "expects:disobeys", "canary:boil"), attack("benign", "expects:answers")]


def judgments(name: str, evaluation: Evaluation, test: list[Prompt]) -> dict[str, list[Judgment]]:
    """The judgments of both annotators."""
    rng = np.random.default_rng(5)
    win, lose = NETS[name]
    sides = {"evaluation": name, "contestant": evaluation.contestant, "rival": evaluation.rival}
    outcomes = [rng.choice(["win", "lose", "inconsistent"], p=[win, lose, 1 - win - lose]) for _ in test]
    return {
        "judge": [judged(str(outcome), asked.id, **sides) for outcome, asked in zip(outcomes, test, strict=True)],
        "always-tie": [judged("tie", asked.id, annotator="always-tie", **sides) for asked in test],
    }


def _arm(p: config.Params, arm: str) -> None:
    examples = [example(source, number) for source, n in p.arms[arm].examples.items() for number in range(n)]
    _lines(f"mix/{arm}/train.jsonl", examples)
    held_out = [example("stack_exchange_stem", number) for number in (90, 91)]
    _lines(f"mix/{arm}/held_out.jsonl", held_out)
    _composition(p, arm, examples, held_out)
    gate = ValidationResult(arm=arm, passed=True, train_digest="a1b2c3d4" * 8, expectations=31, failures=())
    _lines(f"validate/{arm}/gate.json", [gate])
    harder = 0.3 * (arm == "unfiltered")
    steps = range(1, EPOCHS * STEPS + 1)
    losses = {step: 2.6 + harder - 0.5 * math.log1p(step / 3) + 0.08 * math.sin(5 * step) for step in steps}
    _lines(
        f"train/{arm}/steps.jsonl",
        [
            StepMetrics(
                step=step,
                epoch=1 + (step - 1) // STEPS,
                loss=loss,
                lr=1e-4,
                grad_norm=1.0,
                tokens=900,
                supervised_tokens=700,
                seconds=1.0,
            )
            for step, loss in losses.items()
        ],
    )
    perplexities = {epoch: 9.1 + harder + 0.4 * epoch for epoch in range(1, EPOCHS + 1)}
    _lines(
        f"train/{arm}/epochs.jsonl",
        [
            EpochMetrics(
                epoch=epoch,
                train_loss=2.4 + harder - 0.3 * epoch,
                held_out_perplexity=perplexity,
                checkpoint=f"epoch-{epoch:02}",
                digest="b" * 64,
            )
            for epoch, perplexity in perplexities.items()
        ],
    )
    scores = [
        EpochScore(
            epoch=epoch,
            checkpoint=f"epoch-{epoch:02}",
            digest="b" * 64,
            held_out_perplexity=perplexity,
            ended=0.5,
            win=0.5,
            tie=0.6 - 0.1 * epoch,
            lose=0.1 * epoch - 0.1,
            score=0.6 - 0.1 * epoch,
        )
        for epoch, perplexity in perplexities.items()
    ]
    _lines(f"select/{arm}/scores.jsonl", scores)
    chosen = SelectedCheckpoint(
        arm=arm, epoch=2, checkpoint=f"data/train/{arm}/epoch-02", digest="b" * 64, why="the best of epochs 1 to 3"
    )
    _lines(f"select/{arm}/chosen.json", [chosen])
    speeds = [StepSpeed(step=step, tokens_per_second=900.0, mfu=None, peak_memory=1e9) for step in steps]
    _lines(f"train/{arm}/speed.jsonl", speeds)
    description = mlflow_runs.describe(p, arm, measurements={"tokens": 900.0, "peak_flops": None})
    _lines(f"train/{arm}/run.json", [description.model_copy(update={"run_id": f"run-of-{arm}"})])


def _composition(p: config.Params, arm: str, train: list[Example], held_out: list[Example]) -> None:
    """The files of mix that describe the examples; every source has one site, of which all is drawn."""
    counts = p.arms[arm].examples
    sites = {name: {"physics": mixture.SiteShare(available=n, expected=n, drawn=n)} for name, n in counts.items()}
    _lines(f"mix/{arm}/card.json", [mixture.card(arm, p.arms[arm].pool, train, sites, held_out=len(held_out))])
    _lines(f"mix/{arm}/dropped.jsonl", [])
    funnels = [
        PoolFunnel(source=name, offered=n, held_out=0, excluded=0, dropped={}, drawn=n, left=0)
        for name, n in counts.items()
    ]
    _lines(f"mix/{arm}/funnel.json", funnels)
    credits = attribution.credits(
        {"train": train, "held_out": held_out},
        titles={row.id: "A title" for row in (*train, *held_out)},
        readers={name: entry.reader for name, entry in p.sources.items()},
    )
    Path(f"data/mix/{arm}/attribution.csv").write_text(attribution.to_csv(credits), encoding="utf-8", newline="")


def _lines(path: str, records: object) -> None:
    jsonl.write(Path("data") / path, records)


def _json(path: str, value: object) -> None:
    at = Path("data") / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text(json.dumps(value))
