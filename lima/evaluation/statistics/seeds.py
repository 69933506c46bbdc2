"""Intervals over prompts and training seeds: crossed random effects, for ablations (LIMA §5)."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats

from lima.evaluation.statistics.estimates import Interval, InvalidObservations, NotEstimable, Numbers

SMALLEST_P = 1e-30


@dataclass(frozen=True)
class Component:
    """A part of the variance of an estimate."""

    variance: float  # estimated, in the squared unit of the values
    degrees: float  # degrees of freedom of this estimate


@dataclass(frozen=True)
class SeedEstimate:
    """A mean, or a difference of means, over prompts and seeds, in the unit of the values."""

    value: float
    interval: Interval
    prompts: int
    seeds: tuple[int, ...]  # number of seeds of each side
    prompt_error: float  # standard error from the prompts and the samples
    seed_error: float  # standard error from the seeds, 0 with one seed
    components: tuple[Component, ...]  # of the variance, for `reach`
    covers_seeds: bool  # False with one seed on some side: the interval is for these trained models only

    @property
    def has_spread(self) -> bool:
        """Whether the values differ between prompts or between seeds; if not, no test is possible."""
        return any(component.variance > 0 for component in self.components)

    def reach(self, level: float) -> float:
        """Quantile of the estimate's error at `level`, 0.5 to 1: √Σ t_level(degrees)² · variance over components."""
        return _reach(self.components, 1 - level)

    def p_value(self) -> float | None:
        """Two-sided p-value of the null hypothesis 0: the α whose interval ends at 0. None without a spread."""
        if not self.has_spread:
            return None

        def excess(log_p: float) -> float:
            return _reach(self.components, math.exp(log_p) / 2) - abs(self.value)

        if excess(math.log(SMALLEST_P)) <= 0:
            return SMALLEST_P
        return math.exp(float(scipy.optimize.brentq(excess, math.log(SMALLEST_P), 0.0, xtol=1e-12)))


@dataclass(frozen=True)
class MeanSquares:
    """Analysis of variance of a table of seeds × prompts without replication."""

    seeds: float
    prompts: float
    residual: float


def mean_squares(values: Numbers) -> MeanSquares:
    """Two-way analysis of variance, y = μ + seed + prompt + residual, one value per cell.

    Args:
        values: shape (seeds, prompts), at least 2 × 2.
    """
    seeds, prompts = values.shape
    row, column, mean = values.mean(1), values.mean(0), values.mean()
    residual = values - row[:, None] - column[None, :] + mean
    return MeanSquares(
        seeds=float(prompts * np.sum((row - mean) ** 2) / (seeds - 1)),
        prompts=float(seeds * np.sum((column - mean) ** 2) / (prompts - 1)),
        residual=float(np.sum(residual**2) / ((seeds - 1) * (prompts - 1))),
    )


def seed_mean(values: Numbers, *, confidence: float) -> SeedEstimate:
    """Mean over seeds and prompts, for new seeds and new prompts.

    Var(ȳ) = σ²_seed/S + σ²_prompt/P + σ²_residual/SP. The interval is ȳ ± √(t²(P−1)·V + t²(S−1)·M_seed/SP): V is the
    variance of the prompts' means divided by P, and each part has its own quantile of Student's t. It contains the
    residuals twice. An estimate without them, and Satterthwaite's degrees of freedom, cover .88 instead of .95 with two
    seeds, because M_seed has one degree of freedom and is often far too small.

    Args:
        values: mean value of each seed and prompt, shape (seeds, prompts).

    Raises:
        NotEstimable: fewer than two prompts.
    """
    _require_table(values)
    seeds, prompts = values.shape
    by_prompt = values.mean(0)
    within = float(by_prompt.var(ddof=1)) / prompts
    components, between = [Component(within, prompts - 1)], 0.0
    if seeds > 1:
        squares = mean_squares(values)
        components.append(Component(squares.seeds / (seeds * prompts), seeds - 1))
        between = max(0.0, squares.seeds - squares.residual) / (seeds * prompts)
    return _estimate(float(by_prompt.mean()), (values,), within, between, tuple(components), confidence)


def seed_difference(first: Numbers, second: Numbers, *, confidence: float) -> SeedEstimate:
    """Difference of two recipes, first − second, paired by prompt, each with seeds of its own.

    Var = V + Σ over recipes of max(0, M_seed − M_residual)/SP. V is the variance of the prompts' differences of means,
    divided by P. It contains the residuals; the seeds shift all prompts alike and come in by the second term. With few
    seeds, their variance has few degrees of freedom and the interval is wide.

    Args:
        first: mean value of each seed and prompt of one recipe, shape (seeds, prompts).
        second: the same of the other recipe, with the same prompts in the same order; the number of seeds may differ.
    """
    _require_table(first)
    _require_table(second)
    if first.shape[1] != second.shape[1]:
        raise InvalidObservations(f"tables of {first.shape[1]} and {second.shape[1]} prompts; pass the same prompts")
    differences = first.mean(0) - second.mean(0)
    within = float(differences.var(ddof=1)) / len(differences)
    between, total = _satterthwaite(within, (first, second))
    return _estimate(float(differences.mean()), (first, second), within, between, (total,), confidence)


def _satterthwaite(within: float, tables: tuple[Numbers, ...]) -> tuple[float, Component]:
    """The variance from the seeds, and the whole variance with Satterthwaite's degrees of freedom."""
    prompts = tables[0].shape[1]
    terms = [(within, prompts - 1)]  # (variance, degrees of freedom)
    between = 0.0
    for table in tables:
        seeds = len(table)
        if seeds == 1:
            continue
        squares = mean_squares(table)
        component = (squares.seeds - squares.residual) / (seeds * prompts)
        if component > 0:
            between += component
            terms.append((squares.seeds / (seeds * prompts), seeds - 1))
            terms.append((-squares.residual / (seeds * prompts), (seeds - 1) * (prompts - 1)))
    variance = within + between
    spread = sum(term**2 / degrees for term, degrees in terms)
    return between, Component(variance, variance**2 / spread if spread else prompts - 1)


def _estimate(
    value: float,
    tables: tuple[Numbers, ...],
    within: float,
    between: float,
    components: tuple[Component, ...],
    confidence: float,
) -> SeedEstimate:
    reach = _reach(components, (1 - confidence) / 2)
    return SeedEstimate(
        value=value,
        interval=Interval(value - reach, value + reach),
        prompts=tables[0].shape[1],
        seeds=tuple(len(table) for table in tables),
        prompt_error=within**0.5,
        seed_error=between**0.5,
        components=components,
        covers_seeds=all(len(table) > 1 for table in tables),
    )


def _reach(components: tuple[Component, ...], tail: float) -> float:
    """√Σ t²·variance with the quantiles of Student's t that leave `tail` above them, 0 to 0.5."""
    return math.sqrt(sum(float(scipy.stats.t.isf(tail, part.degrees)) ** 2 * part.variance for part in components))


def _require_table(values: Numbers) -> None:
    if values.ndim != 2 or not len(values):
        raise InvalidObservations(f"table of shape {values.shape}; pass seeds × prompts")
    if values.shape[1] < 2:
        raise NotEstimable(f"too few prompts for an interval: {values.shape[1]}; at least 2 are needed")
    if not np.isfinite(values).all():
        raise InvalidObservations("table with missing values; use the prompts that every seed has")
