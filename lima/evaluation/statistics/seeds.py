"""Intervals over prompts and training seeds: crossed random effects, for ablations (LIMA §5)."""

from dataclasses import dataclass

import numpy as np
import scipy.stats

from lima.evaluation.statistics.estimates import Interval, InvalidObservations, NotEstimable, Numbers


@dataclass(frozen=True)
class SeedEstimate:
    """A mean, or a difference of means, over prompts and seeds, in the unit of the values."""

    value: float
    interval: Interval
    prompts: int
    seeds: tuple[int, ...]  # number of seeds of each side
    prompt_error: float  # standard error from the prompts and the samples
    seed_error: float  # standard error from the seeds, 0 with one seed
    degrees: float  # Satterthwaite degrees of freedom
    covers_seeds: bool  # False with one seed on some side: the interval is for these trained models only


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

    Var(ȳ) = σ²_seed/S + σ²_prompt/P + σ²_residual/SP, estimated as V + max(0, M_seed − M_residual)/SP. V is the
    variance of the prompts' means divided by P. The quantile is Student's t with Satterthwaite's degrees of freedom.

    Args:
        values: mean value of each seed and prompt, shape (seeds, prompts).

    Raises:
        NotEstimable: fewer than two prompts.
    """
    _require_table(values)
    return _estimate(float(values.mean()), values.mean(0), (values,), confidence)


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
    return _estimate(float(differences.mean()), differences, (first, second), confidence)


def _estimate(value: float, by_prompt: Numbers, tables: tuple[Numbers, ...], confidence: float) -> SeedEstimate:
    prompts = len(by_prompt)
    within = float(by_prompt.var(ddof=1)) / prompts
    terms = [(within, float(prompts - 1))]  # (variance, degrees of freedom)
    between = 0.0
    for table in tables:
        seeds = len(table)
        if seeds == 1:
            continue
        squares = mean_squares(table)
        component = (squares.seeds - squares.residual) / (seeds * prompts)
        if component > 0:
            between += component
            terms.append((squares.seeds / (seeds * prompts), float(seeds - 1)))
            terms.append((-squares.residual / (seeds * prompts), float((seeds - 1) * (prompts - 1))))
    variance = within + between
    spread = sum(term**2 / degrees for term, degrees in terms)
    degrees = variance**2 / spread if spread else float(prompts - 1)
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, degrees)) * variance**0.5
    return SeedEstimate(
        value=value,
        interval=Interval(value - reach, value + reach),
        prompts=prompts,
        seeds=tuple(len(table) for table in tables),
        prompt_error=within**0.5,
        seed_error=between**0.5,
        degrees=degrees,
        covers_seeds=all(len(table) > 1 for table in tables),
    )


def _require_table(values: Numbers) -> None:
    if values.ndim != 2 or not len(values):
        raise InvalidObservations(f"table of shape {values.shape}; pass seeds × prompts")
    if values.shape[1] < 2:
        raise NotEstimable(f"too few prompts for an interval: {values.shape[1]}; at least 2 are needed")
    if not np.isfinite(values).all():
        raise InvalidObservations("table with missing values; use the prompts that every seed has")
