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
POINTS = {"win": 1, "lose": -1}  # any other outcome speaks for neither: 0
USABLE = ("win", "tie", "lose")  # outcomes that are a verdict


class NothingToMeasure(LimaError):
    """An estimate over no observation at all."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Preference:
    """What one annotator's verdicts on one comparison come to; shares are of all verdicts and add up to 1.

    Without a usable verdict there is no estimate: net, interval, p_value and smallest are None, not 0.
    """

    n: int  # verdicts
    usable: int  # of these, verdicts that are a win, a tie or a loss
    prompts: int
    shares: dict[str, float]  # a share for each of OUTCOMES
    net: float | None  # win − lose
    interval: Interval | None  # of net
    p_value: float | None  # of "neither is preferred"
    smallest: float | None  # net that would most likely have been seen; None where nothing was decided


def measure_preference(
    verdicts: Sequence[Verdict], *, confidence: float, resamples: int, power: float, rng: np.random.Generator
) -> Preference:
    if not verdicts:
        raise NothingToMeasure("a preference without a verdict; run `dvc repro judge`")
    outcomes = Counter[str](verdict.outcome for verdict in verdicts)
    usable = sum(outcomes[outcome] for outcome in USABLE)
    shares = {outcome: outcomes[outcome] / len(verdicts) for outcome in OUTCOMES}
    if not usable:
        prompts = len({verdict.prompt_id for verdict in verdicts})
        return Preference(len(verdicts), 0, prompts, shares, net=None, interval=None, p_value=None, smallest=None)
    by_prompt: defaultdict[str, list[int]] = defaultdict(list)
    for verdict in verdicts:
        by_prompt[verdict.prompt_id].append(POINTS.get(verdict.outcome, 0))
    points = [by_prompt[prompt] for prompt in sorted(by_prompt)]  # the generator meets prompts in one order
    sums, sizes = np.array([sum(p) for p in points], float), np.array([len(p) for p in points], float)
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

    If neither contestant is preferred, each prompt's sum of points could as well have had the other sign; T is their
    total. With one sample a prompt this is the sign test. Sums are whole numbers, so ties with T are exact.
    """
    decided = sums[sums != 0]
    signs = 2.0 * rng.integers(2, size=(flips, len(decided))) - 1  # (flips, decided prompts)
    as_extreme = np.count_nonzero(np.abs(signs @ decided) >= abs(decided.sum()))
    return float((1 + as_extreme) / (1 + flips))


def minimum_detectable_difference(nets: Numbers, *, confidence: float, power: float) -> float | None:
    """Minimum detectable net: δ = (z₁₋α/₂ + z_power) · s / √n over n prompts, α = 1 − confidence.

    s² = Σ net² / n is the spread of the prompts' nets when the true net is 0. A design with n such prompts finds a net
    of δ with probability `power`; more than 1 means that not even unanimity would have been enough by this reckoning.
    """
    spread = sqrt(float(np.mean(nets**2)))
    if not spread:
        return None
    return (two_sided_z(confidence) + NormalDist().inv_cdf(power)) * spread / sqrt(len(nets))


def two_sided_z(confidence: float) -> float:
    """The normal quantile with half of 1 − confidence above it: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def bootstrap(
    sums: Numbers, sizes: Numbers, *, confidence: float, resamples: int, rng: np.random.Generator
) -> Interval:
    """Percentile interval of Σ sums / Σ sizes, where whole clusters are drawn with replacement.

    A cluster is a prompt: `sums` holds the total of its values and `sizes` their number, both of shape (clusters,).
    With one value a cluster this is the ordinary bootstrap of a mean.
    """
    if not len(sums):
        raise NothingToMeasure("an interval over no prompts; give at least one")
    clusters = len(sums)
    drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)  # (resamples, clusters)
    means = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def wilson(share: float, count: int, *, confidence: float) -> Interval:
    """Wilson's score interval of a share seen among `count` independent observations.

    With z the two-sided quantile: (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n). It stays within 0 and 1 and keeps
    a width at 0 % and 100 %, where the bootstrap has none.
    """
    if not count:
        raise NothingToMeasure("a share of no observations; give at least one")
    z = two_sided_z(confidence)
    middle = share + z**2 / (2 * count)
    reach = z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return Interval(max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values that may be held against the level as they are, in the order given.

    With p₁ ≤ … ≤ pₘ the k-th becomes max over j ≤ k of min(1, (m − j + 1)·pⱼ).
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for before, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - before) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
