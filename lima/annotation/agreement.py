"""Agreement between people, and of models and baselines with people (LIMA §4.2): the tables of the administration."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from multiprocessing import get_context

from lima.annotation.quality import Unit, unit
from lima.config.tools import AnnotationSettings
from lima.evaluation.tasks import TASKS
from lima.records import Annotation, Task

Labels = Mapping[Unit, str]  # value of each judged item
POINTS = {"win": 1, "tie": 0, "lose": -1}


@dataclass(frozen=True)
class Row:
    """One estimate with its interval; without a value the note says why."""

    names: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    count: int  # items
    note: str = ""


def labels_of_people(records: Sequence[Annotation]) -> dict[str, dict[Unit, str]]:
    """Each person's values: without skipped items, attention checks, repeats and adjudications."""
    labels: defaultdict[str, dict[Unit, str]] = defaultdict(dict)
    for record in records:
        if record.kind == "main" and record.value is not None:
            labels[record.person][unit(record)] = record.value
    return dict(labels)


def in_process(
    task: Task, people: Mapping[str, Labels], judges: Mapping[str, Labels], settings: AnnotationSettings
) -> list[Row]:
    """`agreement` in a process of its own, so that the server does not load the numerical libraries."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(agreement, task, people, judges, settings).result()


def agreement(
    task: Task, people: Mapping[str, Labels], judges: Mapping[str, Labels], settings: AnnotationSettings
) -> list[Row]:
    """Alpha of all people; for each two people and for each judge with all people: agreement and kappa."""
    rows = []
    if len(people) > 1:
        rows.append(_alpha(task, people, settings))
    for one, other in combinations(people, 2):
        shared = sorted(people[one].keys() & people[other].keys())
        pairs = [(item, people[one][item], people[other][item]) for item in shared]
        rows += _pair(task, f"{one} · {other}", pairs, settings)
    for judge, values in judges.items():
        pairs = [
            (item, values[item], value)
            for labels in people.values()
            for item, value in labels.items()
            if item in values
        ]
        rows += _pair(task, f"{judge} · people", pairs, settings)
    return rows


def _pair(task: Task, names: str, pairs: Sequence[tuple[Unit, str, str]], settings: AnnotationSettings) -> list[Row]:
    import numpy as np

    from lima.evaluation.statistics import agreement as statistics
    from lima.evaluation.statistics.estimates import Estimate, NotEstimable
    from lima.evaluation.statistics.proportions import clustered_share

    if not pairs:
        return []
    prompts = [item[0] for item, _, _ in pairs]
    first, second = [a for _, a, _ in pairs], [b for _, _, b in pairs]

    def row(measure: str, estimate: Estimate) -> Row:
        return Row(names, measure, estimate.value, estimate.interval.low, estimate.interval.high, estimate.count)

    if task == "pairwise":
        estimate = statistics.tie_discounted_agreement(
            [POINTS[value] for value in first],
            [POINTS[value] for value in second],
            prompts,
            confidence=settings.confidence,
        )
        rows = [row("agreement, ties count half", estimate)]
    else:
        equal: defaultdict[str, list[float]] = defaultdict(list)
        for prompt, a, b in zip(prompts, first, second, strict=True):
            equal[prompt].append(float(a == b))
        rows = [row("agreement", clustered_share(equal, confidence=settings.confidence))]
    try:
        kappa = statistics.cohen_kappa(
            first,
            second,
            prompts,
            confidence=settings.confidence,
            resamples=settings.resamples,
            rng=np.random.default_rng(settings.seed),
        )
        rows.append(row("Cohen’s κ", kappa))
    except NotEstimable as error:
        rows.append(Row(names, "Cohen’s κ", None, None, None, len(pairs), str(error)))
    return rows


def _alpha(task: Task, people: Mapping[str, Labels], settings: AnnotationSettings) -> Row:
    import numpy as np

    from lima.evaluation.statistics import agreement as statistics
    from lima.evaluation.statistics.estimates import NotEstimable

    definition = TASKS[task]
    numbers = {value: float(index) for index, value in enumerate(definition.values)}
    items = sorted({item for labels in people.values() for item in labels})
    ratings = [[numbers[labels[item]] if item in labels else None for item in items] for labels in people.values()]
    names, measure = f"all {len(people)} people", "Krippendorff’s α"
    try:
        estimate = statistics.krippendorff_alpha(
            ratings,
            [item[0] for item in items],
            level="ordinal" if definition.ordered else "nominal",
            confidence=settings.confidence,
            resamples=settings.resamples,
            rng=np.random.default_rng(settings.seed),
        )
    except NotEstimable as error:
        return Row(names, measure, None, None, None, len(items), str(error))
    return Row(names, measure, estimate.value, estimate.interval.low, estimate.interval.high, len(items))
