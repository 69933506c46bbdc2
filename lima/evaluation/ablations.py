"""Ablations: means and differences of the arms that differ in one property (LIMA §5).

Arms with equal recipes are repetitions with other seeds. Intervals cover the prompts and, from two repetitions of each
recipe on, the seeds.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lima.config import Params
from lima.config.entries import ArmContestant, BaselineAnnotator
from lima.config.sections import Report
from lima.evaluation.statistics import holm
from lima.evaluation.statistics.estimates import Interval
from lima.evaluation.statistics.preference import net_preference
from lima.evaluation.statistics.seeds import SeedEstimate, seed_difference, seed_mean
from lima.records import Judgment, Task

_GRADES = {"fail": 0.0, "pass": 1.0, "excellent": 1.0}
# The number of each value of a task. Attacks have rates of their own and are not part of an ablation.
NUMBERS: Mapping[Task, Mapping[str, float]] = {
    "pairwise": {"win": 1.0, "tie": 0.0, "lose": -1.0},
    "rating": {str(rating): float(rating) for rating in range(1, 7)},
    "grade": _GRADES,
    "dialogue": _GRADES,
    "safety": {"unsafe": 0.0, "neither": 0.0, "safe": 1.0},
    "constraint": {"violated": 0.0, "kept": 1.0},
}
UNITS: Mapping[Task, str] = {
    "pairwise": "win − lose",
    "rating": "mean rating, 1 to 6",
    "grade": "share of pass and excellent",
    "dialogue": "share of pass and excellent",
    "safety": "share of safe responses",
    "constraint": "share of kept constraints",
}
Verdict = Literal["higher", "lower", "undetected", "not estimable"]
Judgments = Mapping[str, Mapping[str, Sequence[Judgment]]]  # evaluation → annotator → judgments
Values = Mapping[str, Mapping[str, Sequence[float]]]  # contestant → prompt → a value per response
Pair = tuple[str, str]  # arm of a level, arm of the reference


@dataclass(frozen=True)
class Level:
    """One recipe of an ablation, with its repetitions."""

    name: str  # the first of its arms
    arms: tuple[str, ...]  # repetitions
    examples: int
    pool: str
    mean: SeedEstimate | None = None  # None for pairs, or if it cannot be estimated
    by_seed: tuple[float | None, ...] = ()  # mean of each of `arms`; for pairs, win − lose against the reference
    perplexities: tuple[float | None, ...] = ()  # held-out perplexity of each of `arms`


@dataclass(frozen=True)
class Contrast:
    """Difference of a level from the reference, in the unit of the measure."""

    level: str
    reference: str
    estimate: SeedEstimate | None
    smallest: float | None  # smallest detectable difference; None without a spread
    largest: float  # largest possible difference
    p_value: float | None  # two-sided, without correction
    adjusted: float | None  # corrected by Holm over the contrasts of the ablation
    verdict: Verdict
    claim: str  # what the figures support, without a full stop
    figures: str  # difference, interval, unit and prompts; "" without a claim about a difference
    limits: tuple[str, ...]  # sentences

    @property
    def sentence(self) -> str:
        """The claim with its figures and limits."""
        return " ".join((f"{self.claim} ({self.figures})." if self.figures else f"{self.claim}.", *self.limits))


@dataclass(frozen=True)
class Ablation:
    """One ablation by one annotator with one task and template. The first level is the reference."""

    axis: str  # key of `ablations` in params.yaml
    task: Task
    template: str
    annotator: str
    unit: str
    form_only: bool  # whether the annotator is a baseline, which measures form
    usable: bool  # whether the annotator's judgments support a conclusion
    levels: tuple[Level, ...]
    contrasts: tuple[Contrast, ...]
    left_out: int  # prompts without a value from some model that is compared

    @property
    def sentence(self) -> str:
        """Conclusion of all contrasts."""
        return " ".join(contrast.sentence for contrast in self.contrasts)


@dataclass(frozen=True)
class Difference:
    """Estimate, p-value and smallest detectable difference before the correction for several contrasts."""

    estimate: SeedEstimate | None
    p_value: float | None
    smallest: float | None
    largest: float  # possible difference


def ablations(
    p: Params,
    judgments: Judgments,
    *,
    unusable: frozenset[tuple[str, str]] = frozenset(),
    perplexities: Mapping[str, float] | None = None,
) -> list[Ablation]:
    """Return one table per ablation, task, template and annotator that judged at least two of its recipes.

    Args:
        p: parameters; the first arm of an entry of `ablations` is the reference.
        judgments: all judgments, by evaluation and annotator.
        unusable: pairs of evaluation and annotator whose judgments do not support a conclusion.
        perplexities: held-out perplexity of the selected checkpoint, by arm.
    """
    tables = []
    for axis, arms in p.ablations.items():
        levels = levels_of(p, arms, perplexities or {})
        for (task, template, annotator), evaluations in _measures(p, judgments).items():
            used = [name for name in evaluations if _concerns(p, name, levels)]
            rows = [judgment for name in used for judgment in judgments[name][annotator]]
            measure = _of_pairs if task == "pairwise" else _of_scores
            measured, differences, left_out = measure(p, levels, rows)
            if not differences:
                continue
            form_only = isinstance(p.panels[p.evaluations[used[0]].panel][annotator], BaselineAnnotator)
            usable = not any((name, annotator) in unusable for name in used)
            tables.append(
                Ablation(
                    axis=axis,
                    task=task,
                    template=template,
                    annotator=annotator,
                    unit=UNITS[task],
                    form_only=form_only,
                    usable=usable,
                    levels=tuple(measured),
                    contrasts=tuple(
                        _contrasts(
                            measured[0].name,
                            differences,
                            p.report,
                            annotator=f"the baseline {annotator}" if form_only else annotator,
                            unit=UNITS[task],
                            form_only=form_only,
                            usable=usable,
                            seeds={level.name: tuple(_shared_seeds(p, (level, measured[0]))) for level in measured},
                        )
                    ),
                    left_out=left_out,
                )
            )
    return tables


def smallest_detectable(estimate: SeedEstimate, *, confidence: float, power: float) -> float | None:
    """Difference that a test with this variance detects with probability `power`: reach(1 − α/2) + reach(power).

    With one component of the variance it is (t₁₋α/₂ + t_power) · standard error, α = 1 − confidence. None without a
    spread.
    """
    if not estimate.has_spread:
        return None
    return estimate.reach((1 + confidence) / 2) + estimate.reach(power)


def levels_of(p: Params, arms: Sequence[str], perplexities: Mapping[str, float]) -> list[Level]:
    """The recipes of an ablation. Repetitions belong to it even if the ablation lists only one of them."""
    levels: dict[str, Level] = {}
    for arm in arms:
        repetitions = tuple(p.repetitions(arm))
        if any(arm in level.arms for level in levels.values()):
            continue
        entry = p.arms[arm]
        levels[arm] = Level(
            name=arm,
            arms=repetitions,
            examples=sum(entry.examples.values()),
            pool=entry.pool,
            perplexities=tuple(perplexities.get(name) for name in repetitions),
        )
    return list(levels.values())


def _shared_seeds(p: Params, recipes: Sequence[Level]) -> Iterator[str]:
    """Sentences about seeds that repetitions share: an interval over seeds does not cover others of this kind."""
    for level in recipes:
        values = level.by_seed or [0.0] * len(level.arms)
        arms = [arm for arm, value in zip(level.arms, values, strict=True) if value is not None]
        for kind, seeds, others in (
            ("data", {p.data_seed(arm) for arm in arms}, "draws of its examples"),
            ("training", {p.of_arm(arm).train.seed for arm in arms}, "training runs"),
        ):
            if len(seeds) == 1:
                yield (
                    f"The repetitions of {level.name} share one {kind} seed: the interval does not cover other "
                    f"{others}."
                )
            elif len(seeds) < len(arms):
                yield (
                    f"Some repetitions of {level.name} share a {kind} seed and are not independent: the interval is "
                    f"too narrow for other {others}."
                )


def _measures(p: Params, judgments: Judgments) -> dict[tuple[Task, str, str], list[str]]:
    """The evaluations that measure the same: by task, template and annotator."""
    measures: defaultdict[tuple[Task, str, str], list[str]] = defaultdict(list)
    for name, evaluation in p.evaluations.items():
        if evaluation.task in NUMBERS:
            for annotator in judgments.get(name, {}):
                measures[evaluation.task, evaluation.template, annotator].append(name)
    return dict(measures)


def _arm_of(p: Params, contestant: str | None) -> str | None:
    entry = p.contestants.get(contestant or "")
    return entry.arm if isinstance(entry, ArmContestant) else None


def _concerns(p: Params, evaluation: str, levels: Sequence[Level]) -> bool:
    entry = p.evaluations[evaluation]
    arms = {_arm_of(p, entry.contestant), _arm_of(p, entry.rival)}
    return any(arms & set(level.arms) for level in levels)


Measured = tuple[list[Level], dict[str, Difference], int]


def _of_scores(p: Params, levels: Sequence[Level], judgments: Sequence[Judgment]) -> Measured:
    """Means of single responses, and their differences from the reference, over the prompts that all models have."""
    values = _scores(p, judgments)
    judged = [replace(level, arms=tuple(arm for arm in level.arms if arm in values)) for level in levels]
    kept = [(full, part) for full, part in zip(levels, judged, strict=True) if part.arms]
    if len(kept) < 2 or kept[0][0] is not levels[0]:
        return [], {}, 0
    shared, every = _prompts([values[arm] for _, level in kept for arm in level.arms])
    tables = {
        level.name: np.array([[np.mean(values[arm][prompt]) for prompt in shared] for arm in level.arms])
        for _, level in kept
    }
    confidence, task = p.report.confidence, judgments[0].task
    measured = [
        replace(
            full,
            mean=_within(seed_mean(tables[full.name], confidence=confidence), values_of(task))
            if len(shared) > 1
            else None,
            by_seed=tuple(_mean(values.get(arm, {}), shared) for arm in full.arms),
        )
        for full, _ in kept
    ]
    reference = tables[kept[0][0].name]
    differences = {
        level.name: _difference(
            seed_difference(tables[level.name], reference, confidence=confidence), p.report, differences_of(task)
        )
        if len(shared) > 1
        else _nothing(differences_of(task))
        for _, level in kept[1:]
    }
    return measured, differences, len(every) - len(shared)


def _scores(p: Params, judgments: Sequence[Judgment]) -> dict[str, dict[str, list[float]]]:
    """Values by arm and prompt; judgments without a value are left out."""
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for judgment in judgments:
        arm = _arm_of(p, judgment.contestant)
        if arm is not None and judgment.value is not None:
            values[arm][judgment.prompt_id].append(NUMBERS[judgment.task][judgment.value])
    return {arm: dict(by_prompt) for arm, by_prompt in values.items()}


def _of_pairs(p: Params, levels: Sequence[Level], judgments: Sequence[Judgment]) -> Measured:
    """Win − lose of each level against the reference. A pair without a usable judgment counts as 0, as elsewhere."""
    reference, *others = levels
    measured, differences, left_out = [reference], dict[str, Difference](), 0
    for level in others:
        pairs = _pairs(p, level, reference, judgments)
        if not pairs:
            continue
        shared, every = _prompts(list(pairs.values()))
        left_out = max(left_out, len(every) - len(shared))
        by_arm = {
            arm: [_mean(values, shared) for (first, _), values in pairs.items() if first == arm] for arm in level.arms
        }
        measured.append(
            replace(
                level,
                by_seed=tuple(
                    float(np.mean([v for v in by_arm[a] if v is not None])) if by_arm[a] else None for a in level.arms
                ),
            )
        )
        differences[level.name] = _pair_difference(pairs, shared, p.report) if len(shared) > 1 else _nothing(PAIRS)
    return measured, differences, left_out


def _pairs(
    p: Params, level: Level, reference: Level, judgments: Sequence[Judgment]
) -> dict[Pair, dict[str, list[float]]]:
    """Values from the level's point of view, by pair of arms and prompt."""
    pairs: defaultdict[Pair, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for judgment in judgments:
        first, second = _arm_of(p, judgment.contestant), _arm_of(p, judgment.rival)
        if first is None or second is None:
            continue
        value = NUMBERS["pairwise"].get(judgment.value or "", 0.0)
        if first in level.arms and second in reference.arms:
            pairs[first, second][judgment.prompt_id].append(value)
        elif first in reference.arms and second in level.arms:
            pairs[second, first][judgment.prompt_id].append(-value)
    return {pair: dict(values) for pair, values in pairs.items()}


def _pair_difference(
    pairs: Mapping[Pair, Mapping[str, Sequence[float]]], shared: list[str], report: Report
) -> Difference:
    """Estimate win − lose: of one pair with the report's interval and test, of several pairs over prompts and seeds.

    Counts of few prompts are discrete, and repetitions can be unanimous, so that the interval of several pairs also
    contains the report's interval of all their judgments. The p-value and the smallest difference are the larger ones.
    """
    table = np.array([[np.mean(values[prompt]) for prompt in shared] for values in pairs.values()])
    sides = [len({pair[side] for pair in pairs}) for side in (0, 1)]
    net = net_preference(
        {prompt: [value for values in pairs.values() for value in values[prompt]] for prompt in shared},
        confidence=report.confidence,
        power=report.power,
    )
    estimate = replace(
        seed_mean(table, confidence=report.confidence),
        seeds=tuple(sides),
        covers_seeds=len(pairs) > 1 and sides == [len(pairs)] * 2,  # pairs that share a model are not independent
    )
    if len(pairs) == 1:
        only = replace(estimate, value=net.net, interval=net.interval)
        return Difference(only, net.p_value, net.smallest, PAIRS.high)
    seeded = _difference(estimate, report, PAIRS)
    interval = Interval(
        min(estimate.interval.low, net.interval.low), max(estimate.interval.high, net.interval.high)
    ).within(PAIRS)
    return replace(
        seeded,
        estimate=replace(estimate, interval=interval),
        p_value=max(net.p_value, seeded.p_value or 0.0),
        smallest=_larger(seeded.smallest, net.smallest),
    )


def _larger(first: float | None, second: float | None) -> float | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _prompts(models: Sequence[Mapping[str, Sequence[float]]]) -> tuple[list[str], set[str]]:
    """The prompts that all models have, in order, and those that any has."""
    sets = [set(values) for values in models]
    return sorted(set.intersection(*sets)), set.union(*sets)


def _mean(values: Mapping[str, Sequence[float]], shared: Sequence[str]) -> float | None:
    return float(np.mean([np.mean(values[prompt]) for prompt in shared])) if values and shared else None


def values_of(task: Task) -> Interval:
    """The range of a mean of a task's values."""
    return Interval(min(NUMBERS[task].values()), max(NUMBERS[task].values()))


def differences_of(task: Task) -> Interval:
    """The range of the difference of two means of a task's values."""
    space = values_of(task)
    return Interval(space.low - space.high, space.high - space.low)


PAIRS = values_of("pairwise")  # win − lose is a difference already


def _nothing(space: Interval) -> Difference:
    return Difference(None, None, None, space.high)


def _within(estimate: SeedEstimate, space: Interval) -> SeedEstimate:
    return replace(estimate, interval=estimate.interval.within(space))


def _difference(estimate: SeedEstimate, report: Report, space: Interval) -> Difference:
    """Add the p-value of the t-test and the smallest detectable difference. Without a spread there is neither.

    The interval is intersected with `space`, the range of the estimate.
    """
    return Difference(
        _within(estimate, space),
        estimate.p_value(),
        smallest_detectable(estimate, confidence=report.confidence, power=report.power),
        space.high,
    )


def _contrasts(
    reference: str,
    differences: Mapping[str, Difference],
    report: Report,
    *,
    annotator: str,
    unit: str,
    form_only: bool,
    usable: bool,
    seeds: Mapping[str, tuple[str, ...]],
) -> Iterator[Contrast]:
    adjusted = holm({name: d.p_value for name, d in differences.items() if d.p_value is not None})
    for name, difference in differences.items():
        corrected = adjusted.get(name)
        verdict = _verdict(difference, corrected, report)
        claim, figures, limits = _conclusion(
            name,
            reference,
            difference,
            verdict,
            report,
            annotator=annotator,
            unit=unit,
            compared=len(adjusted),
            form_only=form_only,
            usable=usable,
            shared_seeds=seeds[name],
        )
        yield Contrast(
            level=name,
            reference=reference,
            estimate=difference.estimate,
            smallest=difference.smallest,
            largest=difference.largest,
            p_value=difference.p_value,
            adjusted=corrected,
            verdict=verdict,
            claim=claim,
            figures=figures,
            limits=limits,
        )


def _verdict(difference: Difference, adjusted: float | None, report: Report) -> Verdict:
    if difference.estimate is None or adjusted is None:
        return "not estimable"
    interval = difference.estimate.interval
    if adjusted >= 1 - report.confidence or interval.low <= 0 <= interval.high:
        return "undetected"
    return "higher" if difference.estimate.value > 0 else "lower"


def _conclusion(
    level: str,
    reference: str,
    difference: Difference,
    verdict: Verdict,
    report: Report,
    *,
    annotator: str,
    unit: str,
    compared: int,
    form_only: bool,
    usable: bool,
    shared_seeds: tuple[str, ...],
) -> tuple[str, str, tuple[str, ...]]:
    """The claim that the figures support, the figures and the limits of the claim."""
    pair = f"{level} and {reference}"
    estimate = difference.estimate
    if not usable:
        return f"The judgments of {annotator} do not support a conclusion about {pair}", "", ()
    if estimate is None or verdict == "not estimable":
        claim = f"The judgments of {annotator} do not determine a difference between {pair}"
        return f"{claim}: too few prompts or no spread", "", ()
    low, high = estimate.interval.low, estimate.interval.high
    figures = (
        f"difference {_signed(estimate.value)}, {report.confidence:.0%} interval {_signed(low)} to {_signed(high)}, "
        f"{unit}, {estimate.prompts} prompts"
    )
    if compared > 1:
        figures += f", test corrected for {compared} comparisons"
    limits = []
    if verdict == "undetected":
        claim = f"No difference between {pair} is shown by {annotator}"
        limits.append(f"This does not show that they are equal: {_missed(difference, report)}.")
    else:
        claim = f"{level} scores {verdict} than {reference} according to {annotator}"
    if estimate.covers_seeds:
        limits += shared_seeds
    else:
        limits.append("This holds for these trained models: the training seeds are too few to judge the recipes.")
    if form_only:
        limits.append("A baseline measures form, not quality.")
    return claim, figures, tuple(limits)


def _missed(difference: Difference, report: Report) -> str:
    """The differences that the test probably does not detect."""
    power = f"{report.power:.0%}"
    if difference.smallest is None:
        return f"values without a spread do not show which difference is detected with a probability of {power}"
    if difference.smallest > difference.largest:
        return (
            f"not even the largest possible difference, {difference.largest:.2f}, is detected with a probability of "
            f"{power}"
        )
    return f"a true difference below {difference.smallest:.2f} is detected with a probability below {power}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
