"""Intervals of proportions, and of the difference of two proportions of the same sample (win − lose)."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from lima.evaluation.statistics.clusters import design_effect
from lima.evaluation.statistics.estimates import (
    ByPrompt,
    Estimate,
    Interval,
    InvalidObservations,
    NothingToMeasure,
    Numbers,
    totals,
    two_sided_z,
)

BISECTIONS = 60  # halvings of an interval of length 2: below the spacing of floating-point numbers


def wilson(share: float, count: float, *, confidence: float) -> Interval:
    """Wilson score interval of a share of `count` independent observations (Wilson 1927).

    With z the two-sided quantile: (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n). It lies within 0 and 1. Its width
    is positive at 0 % and 100 %, where that of the bootstrap is 0.

    Args:
        share: 0 to 1.
        count: number of observations, or the effective sample size of a clustered sample.

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


def clustered_share(values: ByPrompt, *, confidence: float) -> Estimate:
    """Share of ones among zeros and ones, with the Wilson interval at the effective sample size.

    The effective sample size is N / design effect (`clusters.design_effect`). With one value per prompt the interval
    is Wilson's.

    Raises:
        InvalidObservations: a value is neither 0 nor 1.
    """
    sums, sizes = totals(values)
    require_values(values, {0.0, 1.0})
    count, ones = sizes.sum(), sums.sum()
    share = ones / count
    effect = design_effect(sums, sizes, variance=share * (1 - share), rare=np.minimum(ones, count - ones))
    interval = wilson(float(share), float(count / effect), confidence=confidence)
    return Estimate(float(share), interval, int(count), len(sums))


def score_bounds(wins: Numbers, losses: Numbers, counts: Numbers, *, z: float) -> tuple[Numbers, Numbers]:
    """Score interval of win − lose in a multinomial sample (Tango 1998), for many samples at once.

    The interval contains each δ with |w − l − nδ| ≤ z·√(n(2p̃ + δ − δ²)). p̃ is the maximum likelihood estimate of the
    share of losses if the true difference is δ: p̃ = (√(B² − 4AC) − B) / 2A with A = 2n, B = (2n − w + l)δ − w − l,
    C = −lδ(1 − δ).

    Args:
        wins: number of wins, of any shape; not necessarily integers.
        losses: number of losses, of the same shape.
        counts: number of observations, ties included, of the same shape.
        z: two-sided quantile of the normal distribution.

    Returns:
        Lower and upper bounds within −1 and 1.
    """
    wins, losses, counts = np.asarray(wins, float), np.asarray(losses, float), np.asarray(counts, float)
    net = (wins - losses) / counts

    def inside(delta: Numbers) -> NDArray[np.bool_]:
        a, b = 2 * counts, (2 * counts - wins + losses) * delta - wins - losses
        c = -losses * delta * (1 - delta)
        lost = (np.sqrt(np.maximum(b**2 - 4 * a * c, 0)) - b) / (2 * a)
        variance = counts * (2 * lost + delta - delta**2)
        return np.asarray((wins - losses - counts * delta) ** 2 <= z**2 * np.maximum(variance, 0))

    def bound(end: float) -> Numbers:
        accepted, rejected = net, np.full(net.shape, end)
        for _ in range(BISECTIONS):
            middle = (accepted + rejected) / 2
            held = inside(middle)
            accepted, rejected = np.where(held, middle, accepted), np.where(held, rejected, middle)
        return np.asarray(rejected)

    return bound(-1.0), bound(1.0)


def clustered_score_bounds(
    wins: Numbers, losses: Numbers, sizes: Numbers, *, z: float
) -> tuple[Numbers, Numbers, Numbers]:
    """Score interval of win − lose for clustered samples: `score_bounds` at the effective sample size.

    Wins, losses and observations are divided by the design effect (`clusters.design_effect`) before the score interval
    is computed. Its coverage is in benchmarks/README.md.

    Args:
        wins: number of wins of each prompt, shape (…, prompts).
        losses: number of losses of each prompt, shape (…, prompts).
        sizes: number of observations of each prompt, shape (…, prompts).

    Returns:
        Lower bounds, upper bounds and effective sample sizes, each of shape (…).
    """
    won, lost, count = wins.sum(-1), losses.sum(-1), sizes.sum(-1)
    variance = (won + lost) / count - ((won - lost) / count) ** 2
    rare = count - np.maximum(np.maximum(won, lost), count - won - lost)
    effect = design_effect(wins - losses, sizes, variance=variance, rare=rare)
    low, high = score_bounds(won / effect, lost / effect, count / effect, z=z)
    return low, high, np.asarray(count / effect)


def require_values(values: ByPrompt, allowed: set[float]) -> None:
    for prompt, samples in values.items():
        for value in samples:
            if float(value) not in allowed:
                known = ", ".join(f"{number:g}" for number in sorted(allowed))
                raise InvalidObservations(f"unknown value: {value} of prompt {prompt}; pass one of {known}")
