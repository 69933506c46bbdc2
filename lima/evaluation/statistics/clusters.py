"""Clustered samples: several samples of one prompt are dependent, prompts are independent."""

from collections.abc import Callable

import numpy as np
import scipy.stats

from lima.evaluation.statistics.estimates import (
    ByPrompt,
    Estimate,
    Interval,
    NotEstimable,
    NothingToMeasure,
    Numbers,
    totals,
)

PRIOR_OBSERVATIONS = 1.0  # weight of full correlation in a design effect; chosen by benchmarks/coverage.py


def clustered_error(sums: Numbers, sizes: Numbers) -> float:
    """Clustered standard error of the mean θ = Σ sums / Σ sizes, √(G/(G−1) · Σ(sum − θ·size)²) / Σ size.

    This is the CR1 estimator of a regression on a constant (Liang & Zeger 1986), over G prompts, with Student's t on
    G − 1 degrees of freedom as its reference distribution.

    Args:
        sums: total of the values of each prompt, shape (prompts,).
        sizes: number of the values of each prompt, shape (prompts,).

    Raises:
        NotEstimable: fewer than two prompts.
    """
    prompts = len(sums)
    if prompts < 2:
        raise NotEstimable(f"too few prompts for a standard error: {prompts}; at least 2 are needed")
    residuals = sums - sums.sum() / sizes.sum() * sizes
    return float(np.sqrt(prompts / (prompts - 1) * np.sum(residuals**2)) / sizes.sum())


def clustered_mean(values: ByPrompt, *, confidence: float) -> Estimate:
    """Mean over all values with a t interval from the clustered standard error.

    For values on a scale with many steps. For win, tie and loss use `preference.net_preference`, for yes and no
    `proportions.clustered_share`: their intervals hold for lopsided shares and small samples.

    Raises:
        NotEstimable: fewer than two prompts.
    """
    return clustered_ratio(*totals(values), confidence=confidence)


def clustered_ratio(sums: Numbers, sizes: Numbers, *, confidence: float) -> Estimate:
    """Σ sums / Σ sizes with the t interval of `clustered_mean`; its count is Σ sizes.

    Args:
        sums: total of the values of each prompt, shape (prompts,).
        sizes: number of the values of each prompt, shape (prompts,).

    Raises:
        NotEstimable: fewer than two prompts.
    """
    mean = float(sums.sum() / sizes.sum())
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, len(sums) - 1)) * clustered_error(sums, sizes)
    return Estimate(mean, Interval(mean - reach, mean + reach), int(sizes.sum()), len(sums))


def design_effect(sums: Numbers, sizes: Numbers, *, variance: Numbers, rare: Numbers) -> Numbers:
    """Design effect: variance of the mean over its variance if all observations were independent (Kish 1965).

    raw = [G/(G−1) · Σ(sum − θ·size)² / N²] / [variance / (N − 1)], with N = Σ size, over G prompts. If few observations
    differ from the most frequent value, raw is unreliable and can be 0/0. It is therefore averaged with the design
    effect of full correlation, m = Σ size² / N: (rare·raw + w·m) / (rare + w), with w = PRIOR_OBSERVATIONS, clipped
    to 1 … m. With one sample per prompt it is 1. The effective sample size is N / design effect.

    Args:
        sums: total of the values of each prompt, shape (…, prompts).
        sizes: number of the values of each prompt, shape (…, prompts).
        variance: of one observation, with divisor N, shape (…).
        rare: number of observations that differ from the most frequent value, shape (…).
    """
    count, prompts = sizes.sum(-1), sums.shape[-1]
    largest = np.sum(sizes**2, axis=-1) / count
    residuals = sums - (sums.sum(-1) / count)[..., None] * sizes
    clustered = prompts / max(prompts - 1, 1) * np.sum(residuals**2, axis=-1) / count**2
    independent = variance / np.maximum(count - 1, 1)
    defined = (independent > 1e-15) & (prompts > 1)
    raw = np.where(defined, clustered / np.where(defined, independent, 1), largest)
    shrunk = (rare * raw + PRIOR_OBSERVATIONS * largest) / (rare + PRIOR_OBSERVATIONS)
    return np.asarray(np.clip(shrunk, 1, largest))


def bootstrap(
    sums: Numbers, sizes: Numbers, *, confidence: float, resamples: int, rng: np.random.Generator
) -> Interval:
    """Percentile interval of Σ sums / Σ sizes from a cluster bootstrap.

    Prompts are the clusters and are resampled with replacement. With one value per prompt this is the ordinary
    bootstrap of a mean. It is too narrow with few prompts or lopsided shares (docs/evaluation.md).

    Args:
        sums: total of the values of each prompt, shape (prompts,).
        sizes: number of the values of each prompt, shape (prompts,).

    Raises:
        NothingToMeasure: no prompts.
    """
    if not len(sums):
        raise NothingToMeasure("no prompts for an interval; pass at least one")
    pairs = np.stack([sums, sizes], axis=1)
    return bootstrap_of_totals(pairs, lambda t: t[:, 0] / t[:, 1], confidence=confidence, resamples=resamples, rng=rng)


def resampled_totals(tables: Numbers, *, resamples: int, rng: np.random.Generator) -> Numbers:
    """Totals of resampled prompts.

    Args:
        tables: additive counts of each prompt, shape (prompts, …).

    Returns:
        Totals of `prompts` prompts drawn with replacement, shape (resamples, …).
    """
    prompts = len(tables)
    weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples)  # (resamples, prompts)
    flat = weights @ tables.reshape(prompts, -1)
    return np.asarray(flat.reshape(resamples, *tables.shape[1:]))


def bootstrap_of_totals(
    tables: Numbers,
    statistic: Callable[[Numbers], Numbers],
    *,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    """Percentile interval of a statistic of additive counts, from a cluster bootstrap (Efron 1979).

    Args:
        tables: counts of each prompt, shape (prompts, …).
        statistic: maps totals of shape (resamples, …) to values of shape (resamples,); NaN where it is undefined.

    Raises:
        NotEstimable: the statistic is undefined in more than half of the resamples.
    """
    values = statistic(resampled_totals(tables, resamples=resamples, rng=rng))
    defined = values[np.isfinite(values)]
    if 2 * len(defined) < resamples:
        raise NotEstimable(f"statistic undefined in {resamples - len(defined)} of {resamples} resamples; add prompts")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
