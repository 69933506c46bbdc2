"""Intervals around a mean or a share: percentile bootstrap over whole prompts, Wilson's for small sets (LIMA §5)."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lima.errors import LimaError

Numbers = NDArray[np.float64]


class NothingToMeasure(LimaError):
    """An estimate over no observation at all."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


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
