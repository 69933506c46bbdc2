"""Prediction-powered inference: few human labels joined with many of a model (Angelopoulos et al. 2023, PPI++)."""

from dataclasses import dataclass

import numpy as np
import scipy.stats

from lima.evaluation.statistics.estimates import Interval, InvalidObservations, NotEstimable, Numbers


@dataclass(frozen=True)
class PredictionPowered:
    """A mean of human labels, in their unit."""

    value: float
    interval: Interval
    tuning: float  # weight λ of the model's labels, 0 to 1; 0: human labels alone
    human: float  # mean of the human labels alone
    human_interval: Interval
    labelled: int  # prompts with both labels
    unlabelled: int  # prompts with the model's label alone
    equivalent: float  # human labels that would have given the same standard error without the model


def prediction_powered_mean(
    human: Numbers, model: Numbers, unlabelled: Numbers, *, space: Interval, confidence: float
) -> PredictionPowered:
    """PPI++ estimate of the mean human label over all prompts.

    With n labelled and N other prompts: θ = λ·mean(unlabelled) + mean(human − λ·model). The variance is λ²·Var(model)/N
    + Var(human − λ·model)/n. λ = Cov(human, model) / ((1 + n/N)·Var(model)), clipped to 0 … 1, makes it smallest; the
    model's variance is taken over all its labels. A model that always errs in one direction does not bias θ, since the
    second term corrects it. Valid if the labelled prompts are a random sample of all. The quantile is Student's t with
    n − 2 degrees of freedom, because λ is estimated from the labelled prompts too.

    θ and the t limits can lie outside the parameter space, the range of the labels: −1 to 1 for win, tie and loss. θ is
    projected onto it, which moves it nearer to the mean, and the interval is intersected with it, which keeps its
    coverage (`Interval.within`).

    Args:
        human: mean human label of each labelled prompt, shape (labelled,).
        model: mean model label of the same prompts, shape (labelled,).
        unlabelled: mean model label of each other prompt, shape (unlabelled,).
        space: lowest and highest possible label.

    Raises:
        NotEstimable: fewer than three labelled or two other prompts, or no spread: the t interval would have no width.
    """
    human, model, unlabelled = (np.asarray(values, float) for values in (human, model, unlabelled))
    if human.shape != model.shape or human.ndim != 1 or unlabelled.ndim != 1:
        raise InvalidObservations(f"{human.shape} human and {model.shape} model labels; pass one each per prompt")
    n, size = len(human), len(unlabelled)
    if n < 3 or size < 2:
        raise NotEstimable(f"too few labels: {n} human, {size} of the model alone; at least 3 and 2 are needed")
    variance = float(np.concatenate([model, unlabelled]).var(ddof=1))
    tuning = 0.0
    if variance > 0:
        tuning = float(np.clip(np.cov(human, model)[0, 1] / ((1 + n / size) * variance), 0, 1))
    rectified = human - tuning * model
    value = tuning * float(unlabelled.mean()) + float(rectified.mean())
    squared = tuning**2 * float(unlabelled.var(ddof=1)) / size + float(rectified.var(ddof=1)) / n
    if squared == 0:
        raise NotEstimable(f"no spread among the labels of {n} prompts; label more prompts")
    alone = float(human.var(ddof=1)) / n
    return PredictionPowered(
        value=space.clip(value),
        interval=_interval(value, squared, n - 2, confidence).within(space),
        tuning=tuning,
        human=float(human.mean()),
        human_interval=_interval(float(human.mean()), alone, n - 1, confidence).within(space),
        labelled=n,
        unlabelled=size,
        equivalent=n * alone / squared,
    )


def _interval(value: float, variance: float, degrees: int, confidence: float) -> Interval:
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, degrees)) * variance**0.5
    return Interval(value - reach, value + reach)
