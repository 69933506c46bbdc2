"""Length-controlled preference: logistic regression of verdicts on the difference in length."""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
import statsmodels.api
from scipy.special import expit
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

from lima.evaluation.statistics.estimates import Interval, InvalidObservations, NotEstimable


@dataclass(frozen=True)
class LengthControlled:
    """Preference if both responses had the same length, on the scale of win − lose, −1 to 1."""

    net: float
    interval: Interval
    raw: float  # win − lose without control
    slope: float  # log odds per standard deviation of the length difference, near 0; > 0: longer answers are preferred
    slope_interval: Interval
    count: int
    prompts: int


def length_controlled(
    values: Sequence[float],
    differences: Sequence[float],
    prompts: Sequence[Hashable],
    *,
    confidence: float,
) -> LengthControlled:
    """Net preference at equal length, in the manner of length-controlled AlpacaEval (Dubois et al. 2024).

    P(win) = σ(θ + φ·tanh(d / s)), d the difference in length, s its root mean square; a tie is half a win. The net at
    equal length is 2σ(θ) − 1. Differences to AlpacaEval: no term for the difficulty of a prompt, which needs verdicts
    of other models; no regularisation; the interval uses the covariance clustered by prompt, with Student's t on
    G − 1 degrees of freedom, and contains the uncertainty of φ. The control removes only the part of the preference
    that is linear in tanh(d / s), and also what a longer answer deserves for its content.

    Args:
        values: 1 (win), 0 (tie) or −1 (loss) of each comparison.
        differences: length of the contestant's response minus that of the rival's, in one unit.
        prompts: prompt of each comparison.

    Raises:
        NotEstimable: no difference in length, or the verdicts are separated by it, so that no finite θ exists.
    """
    if not len(values) == len(differences) == len(prompts):
        raise InvalidObservations("values, differences and prompts of unequal length")
    if not np.isin(values, (-1, 0, 1)).all():
        raise InvalidObservations("unknown verdict; pass 1 (win), 0 (tie) or −1 (loss)")
    groups = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    if len(groups) < 3:
        raise NotEstimable(f"too few prompts for a regression: {len(groups)}; at least 3 are needed")
    lengths = np.asarray(differences, float)
    scale = float(np.sqrt(np.mean(lengths**2)))
    points = (1 + np.asarray(values, float)) / 2
    shifts = np.tanh(lengths / scale) if scale else lengths
    if np.ptp(shifts) == 0:
        raise NotEstimable("lengths differ by the same amount everywhere; nothing to control for")
    _require_overlap(points, shifts)
    design = np.column_stack([np.ones(len(shifts)), shifts])
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerfectSeparationWarning)
        fitted = statsmodels.api.GLM(points, design, family=statsmodels.api.families.Binomial()).fit(
            cov_type="cluster", cov_kwds={"groups": np.array([groups[prompt] for prompt in prompts])}, tol=1e-12
        )
    quantile = float(scipy.stats.t.ppf((1 + confidence) / 2, len(groups) - 1))
    (theta, slope), (theta_error, slope_error) = fitted.params, fitted.bse
    reach = quantile * theta_error
    return LengthControlled(
        net=_net(theta),
        interval=Interval(_net(theta - reach), _net(theta + reach)),
        raw=float(np.mean(values)),
        slope=float(slope),
        slope_interval=Interval(float(slope - quantile * slope_error), float(slope + quantile * slope_error)),
        count=len(points),
        prompts=len(groups),
    )


def _net(theta: float) -> float:
    return float(2 * expit(theta) - 1)


def _require_overlap(points: np.typing.NDArray[np.float64], shifts: np.typing.NDArray[np.float64]) -> None:
    """Raise if a threshold of the length difference separates wins from losses (ties are half of each)."""
    won, lost = shifts[points > 0], shifts[points < 1]
    if not len(won) or not len(lost) or won.min() >= lost.max() or won.max() <= lost.min():
        raise NotEstimable("wins and losses are separated by length; no finite estimate at equal length exists")
