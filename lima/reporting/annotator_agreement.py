"""Agreement between annotators on pairs: tie-discounted, with intervals, beside that of the baselines (LIMA §4.2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from lima.evaluation.statistics.agreement import tie_discounted_agreement
from lima.evaluation.statistics.estimates import Estimate
from lima.records import Judgment
from lima.reporting.measures import Evaluations
from lima.reporting.results import Results

POINTS = {"win": 1.0, "tie": 0.0, "lose": -1.0}
Item = tuple[str, str, int]  # evaluation, prompt, sample


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of two annotators on the pairs both judged."""

    first: str
    second: str
    estimate: Estimate  # 0 to 1
    with_baseline: bool


def agreements(results: Results, evaluations: Evaluations, *, confidence: float) -> list[PairAgreement]:
    """Agreement of each two annotators over all pairwise evaluations; two baselines are not compared.

    People count by their majority, a tie if there is none. The agreement between single persons comes first.
    """
    kinds = {m.annotator: m.kind for by in evaluations.values() for m in by.values() if m.task == "pairwise"}
    order = sorted(kinds, key=lambda name: ("people", "endpoint", "rules", "baseline").index(kinds[name]))
    labels = {name: _labels(results, evaluations, name) for name in order}
    rows = list(_between_people(results, evaluations, kinds, confidence))
    for one, other in combinations(order, 2):
        if kinds[one] == "baseline":
            continue
        shared = [item for item in labels[one] if item in labels[other]]
        if shared:
            estimate = tie_discounted_agreement(
                [labels[one][item] for item in shared],
                [labels[other][item] for item in shared],
                [prompt for _, prompt, _ in shared],
                confidence=confidence,
            )
            rows.append(PairAgreement(one, other, estimate, with_baseline=kinds[other] == "baseline"))
    return sorted(rows, key=lambda row: row.with_baseline)


def _pairs(results: Results, evaluations: Evaluations, annotator: str) -> Iterator[Judgment]:
    for name, by_annotator in evaluations.items():
        if annotator in by_annotator and by_annotator[annotator].task == "pairwise":
            yield from (judgment for judgment in results.judgments[name][annotator] if judgment.value is not None)


def _labels(results: Results, evaluations: Evaluations, annotator: str) -> dict[Item, float]:
    """1, 0 or −1 of each item: the sign of the sum over persons."""
    sums: dict[Item, float] = {}
    for judgment in _pairs(results, evaluations, annotator):
        item = (judgment.evaluation, judgment.prompt_id, judgment.sample)
        sums[item] = sums.get(item, 0.0) + POINTS[judgment.value or ""]
    return {item: float((total > 0) - (total < 0)) for item, total in sums.items()}


def _between_people(
    results: Results, evaluations: Evaluations, kinds: Mapping[str, str], confidence: float
) -> Iterator[PairAgreement]:
    for annotator in (name for name, kind in kinds.items() if kind == "people"):
        by_item: dict[Item, list[float]] = {}
        for judgment in _pairs(results, evaluations, annotator):
            item = (judgment.evaluation, judgment.prompt_id, judgment.sample)
            by_item.setdefault(item, []).append(POINTS[judgment.value or ""])
        pairs = [(one, other, item[1]) for item, values in by_item.items() for one, other in combinations(values, 2)]
        if pairs:
            first, second, prompts = (list(column) for column in zip(*pairs, strict=True))
            estimate = tie_discounted_agreement(first, second, prompts, confidence=confidence)
            yield PairAgreement(f"{annotator} (a person)", "another person", estimate, with_baseline=False)
