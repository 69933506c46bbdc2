"""Agreement between annotators: tie-discounted, kappa and alpha, with intervals, beside the baselines (LIMA §4.2)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from lima.config.sections import Report
from lima.evaluation.statistics import agreement
from lima.evaluation.statistics.estimates import Estimate, NotEstimable, NothingToMeasure
from lima.evaluation.statistics.proportions import clustered_share
from lima.evaluation.tasks import TASKS
from lima.records import Judgment, Task
from lima.reporting.measures import KINDS, AnnotatorKind, Evaluations
from lima.reporting.results import Results

POINTS = {"win": 1.0, "tie": 0.0, "lose": -1.0}
Group = Literal["person", "model", "recorded", "baseline"]
GROUPS: Mapping[AnnotatorKind, Group] = {
    "people": "person",
    "endpoint": "model",
    "recorded": "recorded",
    "baseline": "baseline",
}
COMPARED: Sequence[tuple[Group, Group]] = (
    ("person", "person"),
    ("person", "model"),
    ("model", "model"),
    ("person", "recorded"),
    ("model", "recorded"),
    ("recorded", "recorded"),
    ("person", "baseline"),
    ("model", "baseline"),
    ("recorded", "baseline"),
)
Unit = tuple[str, str, int, int, str]  # evaluation, prompt, sample, turn, contestant


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of two annotators on the pairs both judged."""

    first: str
    second: str
    estimate: Estimate  # tie-discounted, 0 to 1
    without_ties: Estimate | None  # share of equal verdicts where neither says tie; None without such pairs
    kappa: Estimate | None  # Cohen's; None if both give one value only
    with_baseline: bool


@dataclass(frozen=True)
class GroupAgreement:
    """Agreement within or between groups of annotators in one task, over all pairs of a person or model of each."""

    task: Task
    first: Group
    second: Group
    raters: int
    estimate: Estimate  # tie-discounted for pairs, else the share of equal values
    alpha: Estimate | None  # Krippendorff's, of all raters of both groups; None if undefined, or with baselines

    @property
    def with_baseline(self) -> bool:
        return "baseline" in (self.first, self.second)


@dataclass(frozen=True)
class Rater:
    """One person, model or baseline with its values."""

    group: Group
    values: Mapping[Unit, str]


def agreements(results: Results, evaluations: Evaluations, report: Report) -> list[PairAgreement]:
    """Agreement of each two annotators over all pairwise evaluations; two baselines are not compared.

    People count by their majority, a tie if there is none. Single persons are compared in `groups`.
    """
    kinds = {m.annotator: m.kind for by in evaluations.values() for m in by.values() if m.task == "pairwise"}
    order = sorted(kinds, key=lambda name: KINDS.index(kinds[name]))
    labels = {name: _majority(results, evaluations, name) for name in order}
    rows = []
    for one, other in combinations(order, 2):
        if kinds[one] == "baseline":
            continue
        shared = [unit for unit in labels[one] if unit in labels[other]]
        if shared:
            first, second = ([labels[name][unit] for unit in shared] for name in (one, other))
            prompts = [unit[1] for unit in shared]
            rows.append(
                PairAgreement(
                    one,
                    other,
                    agreement.tie_discounted_agreement(first, second, prompts, confidence=report.confidence),
                    _without_ties(first, second, prompts, report),
                    _kappa(first, second, prompts, report),
                    with_baseline=kinds[other] == "baseline",
                )
            )
    return sorted(rows, key=lambda row: row.with_baseline)


def groups(results: Results, evaluations: Evaluations, report: Report) -> list[GroupAgreement]:
    """Agreement by task and groups, as in the paper: single persons, usable models, baselines.

    Each pair of annotators of two groups counts on every unit both judged. Two baselines are not compared.
    """
    rows: list[GroupAgreement] = []
    for task in TASKS:
        raters = list(_raters(results, evaluations, task))
        for first, second in COMPARED:
            rows += _group(task, first, second, raters, report)
    return rows


def _group(
    task: Task, first: Group, second: Group, raters: Sequence[Rater], report: Report
) -> Iterator[GroupAgreement]:
    members = [rater for rater in raters if rater.group in (first, second)]
    pairs = [
        (one.values[unit], other.values[unit], unit[1])
        for one, other in combinations(members, 2)
        if {one.group, other.group} == {first, second}
        for unit in one.values
        if unit in other.values
    ]
    if not pairs:
        return
    values, others, prompts = (list(column) for column in zip(*pairs, strict=True))
    if task == "pairwise":
        points, rivals = ([POINTS[value] for value in side] for side in (values, others))
        estimate = agreement.tie_discounted_agreement(points, rivals, prompts, confidence=report.confidence)
    else:
        equal: dict[str, list[float]] = {}
        for one, other, prompt in pairs:
            equal.setdefault(prompt, []).append(float(one == other))
        estimate = clustered_share(equal, confidence=report.confidence)
    alpha = None if "baseline" in (first, second) else _alpha(task, members, report)
    yield GroupAgreement(task, first, second, len(members), estimate, alpha)


def _raters(results: Results, evaluations: Evaluations, task: Task) -> Iterator[Rater]:
    """Persons, usable models and baselines; rules decide, so that they do not agree or disagree."""
    values: dict[tuple[str, str | None], dict[Unit, str]] = {}
    kinds: dict[str, AnnotatorKind] = {}
    for name, by_annotator in evaluations.items():
        for annotator, measured in by_annotator.items():
            if measured.task != task or measured.kind == "rules" or not measured.usability.usable:
                continue
            kinds[annotator] = measured.kind
            for judgment in results.judgments[name][annotator]:
                if judgment.value is not None:
                    values.setdefault((annotator, judgment.person), {})[_unit(judgment)] = judgment.value
    for (annotator, _), own in values.items():
        yield Rater(GROUPS[kinds[annotator]], own)


def _unit(judgment: Judgment) -> Unit:
    return (judgment.evaluation, judgment.prompt_id, judgment.sample, judgment.turn, judgment.contestant)


def _majority(results: Results, evaluations: Evaluations, annotator: str) -> dict[Unit, float]:
    """1, 0 or −1 of each unit: the sign of the sum over persons."""
    sums: dict[Unit, float] = {}
    for name, by_annotator in evaluations.items():
        if annotator in by_annotator and by_annotator[annotator].task == "pairwise":
            for judgment in results.judgments[name][annotator]:
                if judgment.value is not None:
                    unit = _unit(judgment)
                    sums[unit] = sums.get(unit, 0.0) + POINTS[judgment.value]
    return {unit: float((total > 0) - (total < 0)) for unit, total in sums.items()}


def _without_ties(
    first: Sequence[float], second: Sequence[float], prompts: Sequence[str], report: Report
) -> Estimate | None:
    try:
        return agreement.agreement_without_ties(first, second, prompts, confidence=report.confidence)
    except NothingToMeasure:
        return None


def _kappa(first: Sequence[float], second: Sequence[float], prompts: Sequence[str], report: Report) -> Estimate | None:
    try:
        return agreement.cohen_kappa(
            first,
            second,
            prompts,
            confidence=report.confidence,
            resamples=report.bootstrap,
            rng=np.random.default_rng(report.seed),
        )
    except NotEstimable:
        return None


def _alpha(task: Task, raters: Sequence[Rater], report: Report) -> Estimate | None:
    definition = TASKS[task]
    number = {value: float(index) for index, value in enumerate(definition.values)}
    units = sorted({unit for rater in raters for unit in rater.values})
    try:
        return agreement.krippendorff_alpha(
            [[number[rater.values[unit]] if unit in rater.values else None for unit in units] for rater in raters],
            [unit[1] for unit in units],
            level="ordinal" if definition.ordered else "nominal",
            confidence=report.confidence,
            resamples=report.bootstrap,
            rng=np.random.default_rng(report.seed),
        )
    except NotEstimable:
        return None
