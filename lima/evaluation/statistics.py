"""Statistics of pairwise preferences: net preference, intervals, tests and their correction (LIMA §4, §5)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lima.errors import LimaError
from lima.records import Verdict

Numbers = NDArray[np.float64]
OUTCOMES: tuple[str, ...] = get_args(Verdict.model_fields["outcome"].annotation)
POINTS = {"win": 1, "lose": -1}  # every other outcome: 0
USABLE = ("win", "tie", "lose")  # outcomes with a verdict


class NothingToMeasure(LimaError):
    """An estimate without observations."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Preference:
    """Preference of one annotator in one comparison. Shares are of all verdicts and add up to 1.

    If no verdict is usable, nothing is estimated: net, interval, p_value and smallest are None, not 0.
    """

    n: int  # verdicts
    usable: int  # verdicts that are a win, a tie or a loss
    prompts: int
    shares: dict[str, float]  # a share for each of OUTCOMES
    net: float | None  # win − lose
    interval: Interval | None  # of net
    p_value: float | None  # null hypothesis: neither is preferred
    smallest: float | None  # minimum detectable net; None if every verdict is a tie or unusable


def measure_preference(
    verdicts: Sequence[Verdict], *, confidence: float, resamples: int, power: float, rng: np.random.Generator
) -> Preference:
    """Estimate a preference; prompts are the independent units, samples of one prompt are not.

    Args:
        confidence: of the interval, 0 to 1.
        resamples: of the bootstrap and of the randomisation test.
        power: of the minimum detectable difference, 0 to 1.

    Raises:
        NothingToMeasure: no verdicts.
    """
    if not verdicts:
        raise NothingToMeasure("no verdicts to measure a preference; run `dvc repro judge`")
    outcomes = Counter[str](verdict.outcome for verdict in verdicts)
    usable = sum(outcomes[outcome] for outcome in USABLE)
    shares = {outcome: outcomes[outcome] / len(verdicts) for outcome in OUTCOMES}
    if not usable:
        prompts = len({verdict.prompt_id for verdict in verdicts})
        return Preference(len(verdicts), 0, prompts, shares, net=None, interval=None, p_value=None, smallest=None)
    by_prompt: defaultdict[str, list[int]] = defaultdict(list)
    for verdict in verdicts:
        by_prompt[verdict.prompt_id].append(POINTS.get(verdict.outcome, 0))
    points = [by_prompt[prompt] for prompt in sorted(by_prompt)]  # the order of verdicts does not matter
    sums = np.array([sum(values) for values in points], float)  # (prompts,)
    sizes = np.array([len(values) for values in points], float)  # (prompts,)
    return Preference(
        n=len(verdicts),
        usable=usable,
        prompts=len(points),
        shares=shares,
        net=(outcomes["win"] - outcomes["lose"]) / len(verdicts),
        interval=bootstrap(sums, sizes, confidence=confidence, resamples=resamples, rng=rng),
        p_value=sign_flip(sums, flips=resamples, rng=rng),
        smallest=minimum_detectable_difference(sums / sizes, confidence=confidence, power=power),
    )


def sign_flip(sums: Numbers, *, flips: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of the paired randomisation test over prompts: (1 + #{|T*| ≥ |T|}) / (1 + flips).

    T is the total of `sums`, shape (prompts,). Under the null hypothesis the sign of each prompt's sum is random. With
    one sample per prompt this is the sign test. Sums are integers, so ties with T are exact.
    """
    decided = sums[sums != 0]
    signs = 2.0 * rng.integers(2, size=(flips, len(decided))) - 1  # (flips, decided prompts)
    as_extreme = np.count_nonzero(np.abs(signs @ decided) >= abs(decided.sum()))
    return float((1 + as_extreme) / (1 + flips))


def minimum_detectable_difference(nets: Numbers, *, confidence: float, power: float) -> float | None:
    """Minimum detectable net: δ = (z₁₋α/₂ + z_power) · s / √n over n prompts, α = 1 − confidence.

    s² = Σ net² / n is the variance of the prompts' nets if the true net is 0. A test of n such prompts detects a net of
    δ with probability `power`. A value above 1 means that not even a unanimous result would be detected. None if all
    nets are 0.
    """
    spread = sqrt(float(np.mean(nets**2)))
    if not spread:
        return None
    return (two_sided_z(confidence) + NormalDist().inv_cdf(power)) * spread / sqrt(len(nets))


def two_sided_z(confidence: float) -> float:
    """Two-sided quantile of the normal distribution: 1.96 for a confidence of 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def bootstrap(
    sums: Numbers, sizes: Numbers, *, confidence: float, resamples: int, rng: np.random.Generator
) -> Interval:
    """Percentile interval of Σ sums / Σ sizes from a cluster bootstrap.

    Prompts are the clusters and are resampled with replacement. With one value per prompt this is the ordinary
    bootstrap of a mean.

    Args:
        sums: total of the values of each prompt, shape (prompts,).
        sizes: number of the values of each prompt, shape (prompts,).

    Raises:
        NothingToMeasure: no prompts.
    """
    if not len(sums):
        raise NothingToMeasure("no prompts for an interval; pass at least one")
    prompts = len(sums)
    weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples)  # (resamples, prompts)
    means = (weights @ sums) / (weights @ sizes)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def wilson(share: float, count: int, *, confidence: float) -> Interval:
    """Wilson score interval of a share of `count` independent observations.

    With z the two-sided quantile: (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n). It lies within 0 and 1. Its width
    is positive at 0 % and 100 %, where that of the bootstrap is 0.

    Raises:
        NothingToMeasure: no observations.
    """
    if not count:
        raise NothingToMeasure("no observations for a share; pass at least one")
    z = two_sided_z(confidence)
    middle = share + z**2 / (2 * count)
    reach = z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return Interval(max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction; controls the family-wise error rate (LIMA §4).

    Returns adjusted p-values in the order of the input: for p₁ ≤ … ≤ pₘ the k-th is max over j ≤ k of
    min(1, (m − j + 1)·pⱼ).
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
