"""Power: smallest detectable win − lose, the prompts a difference needs, and the cost of a noisy annotator."""

from math import ceil, sqrt
from statistics import NormalDist

import numpy as np

from lima.evaluation.statistics.estimates import InvalidObservations, NotEstimable, Numbers, two_sided_z


def minimum_detectable_difference(nets: Numbers, *, confidence: float, power: float) -> float | None:
    """Minimum detectable net: δ = (z₁₋α/₂ + z_power) · s / √n over n prompts, α = 1 − confidence.

    s² = Σ net² / n is the variance of the prompts' nets if the true net is 0. A test of n such prompts detects a net of
    δ with probability `power`. A value above 1 means that not even a unanimous result would be detected. None if all
    nets are 0.

    Args:
        nets: win − lose of each prompt, −1 to 1, shape (prompts,).
    """
    spread = sqrt(float(np.mean(nets**2)))
    if not spread:
        return None
    return _quantiles(confidence, power) * spread / sqrt(len(nets))


def minimum_detectable_true_difference(
    nets: Numbers, *, flip_rate: float, confidence: float, power: float
) -> float | None:
    """Minimum detectable net of the true preferences, seen through an annotator that errs: δ / (1 − 2f).

    If each decided verdict is reversed with probability f, the expected net is (1 − 2f) times the true one. The
    variance of the observed nets is that of `minimum_detectable_difference`, so δ grows by 1 / (1 − 2f).

    Args:
        flip_rate: probability f that a decided verdict is reversed, 0 to below 0.5 (`flip_rate`).

    Raises:
        NotEstimable: a flip rate of 0.5 or more; the verdicts carry no information.
    """
    if not 0 <= flip_rate < 0.5:
        raise NotEstimable(f"flip rate outside 0 to 0.5: {flip_rate}; the verdicts of this annotator are random")
    smallest = minimum_detectable_difference(nets, confidence=confidence, power=power)
    return None if smallest is None else smallest / (1 - 2 * flip_rate)


def flip_rate(disagreement: float) -> float:
    """Probability f that one verdict is reversed, from the share r of repeated verdicts that differ.

    Two independent repetitions differ with probability r = 2f(1 − f), so f = (1 − √(1 − 2r)) / 2. For a judge that sees
    both orders, r is the share of inconsistent pairs.

    Args:
        disagreement: r, 0 to 1.

    Raises:
        NotEstimable: r of 0.5 or more: no better than chance.
    """
    if not 0 <= disagreement < 0.5:
        raise NotEstimable(f"share of differing repetitions outside 0 to 0.5: {disagreement}; no better than chance")
    return (1 - sqrt(1 - 2 * disagreement)) / 2


def prompts_needed(net: float, *, decided: float, flip_rate: float, confidence: float, power: float) -> int:
    """Number of prompts of which a test detects a true net with the given power: ⌈((z₁₋α/₂ + z_power)/d)² · v⌉.

    d = (1 − 2f)·net is the expected net. v = decided is the variance of a verdict under the null hypothesis.

    Args:
        net: true win − lose, −1 to 1, not 0.
        decided: share of wins and losses, 0 to 1.
        flip_rate: probability f that a decided verdict is reversed.
    """
    if not 0 <= flip_rate < 0.5:
        raise NotEstimable(f"flip rate outside 0 to 0.5: {flip_rate}; the verdicts of this annotator are random")
    if not net or abs(net) > decided:
        raise InvalidObservations(f"net outside ±{decided} or 0: {net}; it cannot exceed the share of decided verdicts")
    return ceil((_quantiles(confidence, power) / ((1 - 2 * flip_rate) * net)) ** 2 * decided)


def _quantiles(confidence: float, power: float) -> float:
    return two_sided_z(confidence) + NormalDist().inv_cdf(power)
