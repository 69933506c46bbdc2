"""A synthetic finished run of the profile laptop-ablations: its arms and ablations, with synthetic judgments.

The arms draw from two sources only, so that a small run has them all.
"""

from collections.abc import Mapping
from pathlib import Path

import finished_run
import numpy as np
from ruamel.yaml import YAML

from lima import config, jsonl
from lima.records import JudgeReply, Judgment, Prompt

PROFILE = Path(__file__).parents[2] / "lima/config/profiles/laptop-ablations.yaml"
MODEL = {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m", "key_variable": "KEY", "max_tokens": 64}
QUALITY = {"stackexchange-8": 3.6, "wikihow-8": 3.1, "unfiltered-8": 2.6, "quantity-16": 3.6, "quantity-28": 3.65}
SEED_SPREAD = 0.05  # standard deviation of a repetition's quality, in points of the rating


def settings(*, task: str, panel: Mapping[str, object]) -> dict[str, object]:
    profile = YAML(typ="safe").load(PROFILE)
    arms = {
        name: arm | {"examples": {"authored" if "wikihow" in arm["examples"] else "stack_exchange_stem": size}}
        for name, arm in profile["arms"].items()
        for size in [sum(arm["examples"].values())]
    }
    template = f"lima/evaluation/prompts/{task}.md"
    evaluations = {
        name: entry | {"task": task, "panel": "readers", "template": template}
        for name, entry in profile["evaluations"].items()
        if entry["task"] == "pairwise" and "base" not in name
    }
    values = finished_run.settings()
    return values | {
        "profile": profile["profile"],
        "arms": arms,
        "ablations": profile["ablations"],
        "contestants": profile["contestants"],
        "evaluations": evaluations,
        "panels": {"readers": dict(panel)},
    }


def build(
    *,
    task: str = "rating",
    annotators: Mapping[str, object] | None = None,
    repeated: bool = True,
    always: str | None = None,
    models: Mapping[str, object] | None = None,
) -> config.Params:
    """Write params.yaml and data/ below the current folder.

    Args:
        annotators: panel, by default one model.
        repeated: whether the repetitions are judged.
        always: the value of all replies.
        models: base models instead of the profile's.
    """
    panel = {"judge": MODEL} if annotators is None else annotators
    values = settings(task=task, panel=panel) | ({"models": models} if models else {})
    p = finished_run.build(**values)
    rng = np.random.default_rng(23)
    test = list(jsonl.read(Path("data/prompts/test.jsonl"), Prompt))
    difficulty = {prompt.id: rng.normal(0, 0.5) for prompt in test}
    quality = {name: QUALITY.get(name.removesuffix("-b"), 2.0) + rng.normal(0, SEED_SPREAD) for name in p.arms}
    for name, evaluation in p.evaluations.items():
        for annotator in panel:
            records = []
            if repeated or not name.endswith("-b"):
                for prompt in test:
                    records += _judged(name, annotator, evaluation, prompt, quality, difficulty, rng, always)
            jsonl.write(Path(f"data/judge/{name}/{annotator}/judgments.jsonl"), records)
            jsonl.write(Path(f"data/judge/{name}/{annotator}/canaries.jsonl"), [])
    return p


def _judged(key, annotator, evaluation, prompt, quality, difficulty, rng, always) -> list[Judgment]:
    sides = (evaluation.contestant, evaluation.rival)
    scores = [quality[side] + difficulty[prompt.id] + rng.normal(0, 0.7) for side in sides]
    record = Judgment(
        evaluation=key,
        task=evaluation.task,
        annotator=annotator,
        prompt_id=prompt.id,
        sample=0,
        contestant=sides[0],
        rival=sides[1] if evaluation.task == "pairwise" else None,
        value=None,
    )
    if evaluation.task == "pairwise":
        gap = scores[0] - scores[1]
        value = always or ("tie" if abs(gap) < 0.4 else "win" if gap > 0 else "lose")
        shown = {"tie": ("tie", "tie"), "win": ("first", "second"), "lose": ("second", "first")}[value]
        replies = tuple(JudgeReply(first=side, value=v, text="") for side, v in zip(sides, shown, strict=True))
        return [record.model_copy(update={"value": value, "replies": replies})]
    values = [always or str(int(np.clip(round(score), 1, 6))) for score in scores]
    return [
        record.model_copy(
            update={
                "contestant": side,
                "value": value,
                "replies": (JudgeReply(first=None, value=value, text="A reason."),),
            }
        )
        for side, value in zip(sides, values, strict=True)
    ]
