"""Agreement between annotators: tie-discounted agreement (LIMA §4.2), Cohen's kappa, Krippendorff's alpha."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Literal

import krippendorff
import numpy as np

from lima.evaluation.statistics.clusters import bootstrap_of_totals
from lima.evaluation.statistics.estimates import (
    Estimate,
    Interval,
    InvalidObservations,
    NotEstimable,
    NothingToMeasure,
    Numbers,
)
from lima.evaluation.statistics.preference import net_interval
from lima.evaluation.statistics.proportions import clustered_share

Level = Literal["nominal", "ordinal", "interval"]


def tie_discounted_agreement(
    first: Sequence[float], second: Sequence[float], prompts: Sequence[Hashable], *, confidence: float
) -> Estimate:
    """Tie-discounted agreement of two annotators (LIMA §4.2), 0 to 1.

    A comparison scores 1 if both annotators agree, ½ if exactly one of them says tie, 0 otherwise; the estimate is the
    mean. Scores 1, ½, 0 are win, tie and loss of "agree" against "disagree": with net = 2·agreement − 1 the interval is
    the clustered score interval of `preference.net_interval`. Two annotators who choose at random among win and lose
    agree on ½; one who always says tie scores at least ½ against anyone.

    Args:
        first: 1 (win), 0 (tie) or −1 (loss) of each comparison.
        second: the same of the other annotator, in the same order.
        prompts: prompt of each comparison; several comparisons of one prompt are dependent.
    """
    a, b, codes = _aligned(first, second, prompts)
    if not np.isin(a, (-1, 0, 1)).all() or not np.isin(b, (-1, 0, 1)).all():
        raise InvalidObservations("unknown verdict; pass 1 (win), 0 (tie) or −1 (loss)")
    agree, opposite = _totals(a == b, codes), _totals(a * b == -1, codes)
    sizes = _totals(np.ones(len(a)), codes)
    interval, _ = net_interval(agree, opposite, sizes, confidence=confidence)
    value = (1 + (agree.sum() - opposite.sum()) / len(a)) / 2
    return Estimate(float(value), Interval((1 + interval.low) / 2, (1 + interval.high) / 2), len(a), len(sizes))


def agreement_without_ties(
    first: Sequence[float], second: Sequence[float], prompts: Sequence[Hashable], *, confidence: float
) -> Estimate:
    """Share of equal verdicts where neither annotator says tie, with a clustered Wilson interval.

    Raises:
        NothingToMeasure: every comparison has a tie.
    """
    a, b, codes = _aligned(first, second, prompts)
    kept = (a != 0) & (b != 0)
    if not kept.any():
        raise NothingToMeasure(f"no comparison without a tie: 0 of {len(a)}")
    values: dict[str, list[float]] = {}
    for code, equal in zip(codes[kept], a[kept] == b[kept], strict=True):
        values.setdefault(str(code), []).append(float(equal))
    return clustered_share(values, confidence=confidence)


def cohen_kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    prompts: Sequence[Hashable],
    *,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """Cohen's kappa of two annotators on nominal values: (p − e) / (1 − e) (Cohen 1960).

    p is the share of equal values, e = Σ p₁(v)·p₂(v) the share expected from their marginals. The interval is the
    percentile interval of a bootstrap over prompts. With few values per category or an agreement near 1 it is too
    narrow.

    Raises:
        NotEstimable: both annotators give one and the same value only.
    """
    if not len(first) == len(second) == len(prompts) or not len(first):
        raise InvalidObservations(f"unequal or no values: {len(first)}, {len(second)}, {len(prompts)} prompts")
    names = {value: index for index, value in enumerate(dict.fromkeys([*first, *second]))}
    codes = _codes(prompts)
    tables = np.zeros((codes.max() + 1, len(names), len(names)))
    for code, a, b in zip(codes, first, second, strict=True):
        tables[code, names[a], names[b]] += 1
    value = float(kappa_of_tables(tables.sum(0)[None])[0])
    if not np.isfinite(value):
        raise NotEstimable("kappa undefined: both annotators give one value only; show the agreement instead")
    interval = bootstrap_of_totals(tables, kappa_of_tables, confidence=confidence, resamples=resamples, rng=rng)
    return Estimate(value, interval, len(first), len(tables))


def kappa_of_tables(tables: Numbers) -> Numbers:
    """Cohen's kappa of contingency tables of shape (…, values, values); NaN where it is 0/0."""
    shares = tables / tables.sum((-2, -1), keepdims=True)
    equal = np.trace(shares, axis1=-2, axis2=-1)
    expected = np.sum(shares.sum(-1) * shares.sum(-2), axis=-1)
    defined = expected < 1 - 1e-12
    return np.asarray(np.where(defined, (equal - expected) / np.where(defined, 1 - expected, 1), np.nan))


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]],
    prompts: Sequence[Hashable],
    *,
    level: Level,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """Krippendorff's alpha of any number of annotators with missing values: 1 − observed / expected disagreement.

    Computed by the package krippendorff (Krippendorff 2019). The interval is the percentile interval of a bootstrap
    over prompts.

    Args:
        ratings: for each annotator the value of each unit, None where there is none; shape (annotators, units).
        prompts: prompt of each unit.
        level: of measurement: nominal (win, tie, lose), ordinal (fail, pass, excellent as 0, 1, 2) or interval.

    Raises:
        NotEstimable: one value only, or no unit with two values.
    """
    table = np.array([[np.nan if value is None else value for value in row] for row in ratings], float)
    if table.ndim != 2 or table.shape[1] != len(prompts):
        raise InvalidObservations(f"ratings of shape {table.shape} for {len(prompts)} units; pass annotators × units")
    domain = np.unique(table[np.isfinite(table)])
    pairable = np.sum(np.isfinite(table), axis=0) > 1
    if len(domain) < 2 or not pairable.any():
        raise NotEstimable("alpha undefined: fewer than two different values, or no unit with two values")
    counts = np.stack([np.sum(table == value, axis=0) for value in domain], axis=1).astype(float)  # (units, values)
    value = float(krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement=level))
    codes = _codes([prompt for prompt, paired in zip(prompts, pairable, strict=True) if paired])
    tables = _coincidences(counts[pairable], codes)
    interval = bootstrap_of_totals(
        tables,
        lambda totals: alpha_of_coincidences(totals, domain, level=level),
        confidence=confidence,
        resamples=resamples,
        rng=rng,
    )
    return Estimate(value, interval, int(counts[pairable].sum()), len(tables))


def alpha_of_coincidences(tables: Numbers, domain: Numbers, *, level: Level) -> Numbers:
    """Krippendorff's alpha of coincidence matrices of shape (…, values, values); NaN where it is undefined."""
    sums = tables.sum(-1)
    count = sums.sum(-1)
    distances = _distances(sums, domain, level)
    observed = np.sum(tables * distances, axis=(-2, -1))
    pairs = sums[..., :, None] * sums[..., None, :]
    expected = np.sum(pairs * distances, axis=(-2, -1)) / np.maximum(count - 1, 1)
    return np.asarray(np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), np.nan))


def pairwise(
    labels: Mapping[str, Mapping[str, float]], prompts: Mapping[str, Hashable], *, confidence: float
) -> dict[tuple[str, str], Estimate]:
    """Tie-discounted agreement of each pair of annotators on the comparisons both judged.

    Args:
        labels: annotator → comparison → 1, 0 or −1.
        prompts: comparison → prompt.

    Returns:
        (annotator, annotator) → estimate; pairs without a common comparison are left out.
    """
    result = {}
    for one, other in combinations(labels, 2):
        shared = sorted(labels[one].keys() & labels[other].keys())
        if shared:
            first, second = ([labels[name][item] for item in shared] for name in (one, other))
            groups = [prompts[item] for item in shared]
            result[one, other] = tie_discounted_agreement(first, second, groups, confidence=confidence)
    return result


def _distances(sums: Numbers, domain: Numbers, level: Level) -> Numbers:
    """Squared distances of values; for the ordinal level they depend on the number of values between."""
    size = len(domain)
    if level == "nominal":
        return np.asarray(1 - np.eye(size))
    if level == "interval":
        return np.asarray((domain[:, None] - domain[None, :]) ** 2)
    middles = np.cumsum(sums, axis=-1) - sums / 2  # ranks: Σ of the values between, with half of both ends
    return np.asarray((middles[..., :, None] - middles[..., None, :]) ** 2)


def _coincidences(counts: Numbers, codes: np.typing.NDArray[np.int64]) -> Numbers:
    """Coincidence matrices of prompts, shape (prompts, values, values): Σ over units of pairs / (values − 1)."""
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs -= np.eye(counts.shape[1]) * counts[:, :, None]
    tables = np.zeros((codes.max() + 1, *pairs.shape[1:]))
    np.add.at(tables, codes, pairs / (counts.sum(1) - 1)[:, None, None])
    return tables


def _codes(prompts: Sequence[Hashable]) -> np.typing.NDArray[np.int64]:
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    return np.array([numbers[prompt] for prompt in prompts], np.int64)


def _totals(values: Numbers | np.typing.NDArray[np.bool_], codes: np.typing.NDArray[np.int64]) -> Numbers:
    return np.asarray(np.bincount(codes, weights=values.astype(float)), float)


def _aligned(
    first: Sequence[float], second: Sequence[float], prompts: Sequence[Hashable]
) -> tuple[Numbers, Numbers, np.typing.NDArray[np.int64]]:
    if not len(first) == len(second) == len(prompts):
        raise InvalidObservations(f"unequal lengths: {len(first)}, {len(second)} values of {len(prompts)} prompts")
    if not len(first):
        raise NothingToMeasure("no comparison that both annotators judged")
    return np.asarray(first, float), np.asarray(second, float), _codes(prompts)
