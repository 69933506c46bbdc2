"""Outcomes of pairwise evaluations by source and kind of the prompt (not in the paper)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lima.evaluation.statistics.preference import POINTS, net_preference
from lima.records import Judgment, Prompt
from lima.reporting.measures import Evaluations, Measured
from lima.reporting.results import Results

TAGS = ("kind", "intent", "family", "form")  # tags NAME:VALUE that describe a kind of prompt


@dataclass(frozen=True)
class Group:
    """One annotator's outcomes on the prompts of one source or kind."""

    label: str
    prompts: int
    judgments: int  # with a value
    win: float
    tie: float
    lose: float
    net: float
    low: float
    high: float


@dataclass(frozen=True)
class Breakdown:
    evaluation: str
    measured: Measured
    groups: tuple[Group, ...]


def labels(prompt: Prompt) -> list[str]:
    """The source of a prompt and its kinds."""
    names = [f"{prompt.provenance.source}/{prompt.provenance.site}"]
    for tag in prompt.tags:
        name, separator, value = tag.partition(":")
        if separator and name in TAGS:
            names.append(f"{name}: {value}")
        elif tag == "sensitive":
            names.append(tag)
    return names


def breakdowns(results: Results, evaluations: Evaluations, *, confidence: float, power: float) -> list[Breakdown]:
    """The outcomes of every pairwise evaluation by group, for people and models; baselines where nobody else judged."""
    prompts = {prompt.id: prompt for prompt in (*results.test, *results.adversarial)}
    found = []
    for name, by_annotator in evaluations.items():
        pairs = [m for m in by_annotator.values() if m.preference is not None]
        readers = [m for m in pairs if m.kind != "baseline"] or pairs
        for measured in readers:
            judgments = [j for j in results.judgments[name][measured.annotator] if j.value is not None]
            groups = tuple(_groups(judgments, prompts, confidence, power))
            if groups:
                found.append(Breakdown(name, measured, groups))
    return found


def _groups(
    judgments: Sequence[Judgment], prompts: dict[str, Prompt], confidence: float, power: float
) -> Iterator[Group]:
    by_label: dict[str, dict[str, list[float]]] = {}
    for judgment in judgments:
        if judgment.prompt_id in prompts:
            for label in labels(prompts[judgment.prompt_id]):
                values = by_label.setdefault(label, {}).setdefault(judgment.prompt_id, [])
                values.append(float(POINTS.get(judgment.value or "", 0)))
    for label in sorted(by_label, key=lambda label: (":" in label, label)):
        net = net_preference(by_label[label], confidence=confidence, power=power)
        yield Group(
            label, net.prompts, net.count, net.win, net.tie, net.lose, net.net, net.interval.low, net.interval.high
        )
