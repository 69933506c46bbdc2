"""Estimates with intervals, and errors of estimation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lima.errors import LimaError

Numbers = NDArray[np.float64]
ByPrompt = Mapping[str, Sequence[float]]  # prompt → values of its samples


class NothingToMeasure(LimaError):
    """An estimate without observations."""


class NotEstimable(LimaError):
    """Observations that do not determine the estimate."""


class InvalidObservations(LimaError):
    """Observations of a wrong shape or outside their range."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def within(self, space: "Interval") -> "Interval":
        """Restrict a confidence interval to the parameter space, the range of possible values.

        Both limits are projected onto the space. The parameter lies in the space, so the interval contains it exactly
        if it did before: the coverage does not change.
        """
        return Interval(space.clip(self.low), space.clip(self.high))

    def clip(self, value: float) -> float:
        """The nearest value of the interval. An estimate comes nearer to a parameter of the interval, or stays."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Estimate:
    """A value with its two-sided interval, in the unit of the value."""

    value: float
    interval: Interval
    count: int  # observations
    prompts: int  # independent units


def two_sided_z(confidence: float) -> float:
    """Two-sided quantile of the normal distribution: 1.96 for a confidence of 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def totals(values: ByPrompt) -> tuple[Numbers, Numbers]:
    """Return the sum and the number of each prompt's values, each of shape (prompts,), in the order of prompt ids.

    Prompts without values are left out.

    Raises:
        NothingToMeasure: no values.
        InvalidObservations: a value is not a finite number.
    """
    prompts = [prompt for prompt in sorted(values) if len(values[prompt])]
    if not prompts:
        raise NothingToMeasure("no values to estimate from: 0 prompts; pass at least one value")
    for prompt in prompts:
        if not np.isfinite(np.asarray(values[prompt], float)).all():
            raise InvalidObservations(f"value that is not a finite number: prompt {prompt}; leave missing values out")
    sums = np.array([np.sum(values[prompt]) for prompt in prompts], float)
    return sums, np.array([len(values[prompt]) for prompt in prompts], float)
