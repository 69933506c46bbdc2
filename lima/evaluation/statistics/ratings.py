"""Ratings on a scale (Likert 1–6): mean, and paired mean difference of two contestants (LIMA §5)."""

import numpy as np
import scipy.stats

from lima.evaluation.statistics.estimates import ByPrompt, Estimate, Interval, NotEstimable, NothingToMeasure, Numbers


def mean_rating(values: ByPrompt, *, confidence: float) -> Estimate:
    """Mean over prompts of the prompts' mean ratings, with Student's t interval over prompts.

    Each prompt has the same weight, regardless of its number of samples. In points of the scale.

    Raises:
        NotEstimable: fewer than two prompts.
    """
    means = {prompt: float(np.mean(samples)) for prompt, samples in values.items() if len(samples)}
    return _t_interval(np.array([means[prompt] for prompt in sorted(means)]), _count(values, means), confidence)


def mean_difference(first: ByPrompt, second: ByPrompt, *, confidence: float) -> Estimate:
    """Paired mean difference, first − second: mean over prompts of the difference of the prompts' mean ratings.

    The interval is that of the paired t-test over prompts, d̄ ± t · s / √n. Samples of one prompt are averaged first, so
    they do not count as independent. In points of the scale. Prompts that only one side has are not used.

    Raises:
        NothingToMeasure: no common prompt.
        NotEstimable: one common prompt only.
    """
    shared = sorted(prompt for prompt in first if len(first[prompt]) and len(second.get(prompt, ())))
    if not shared:
        raise NothingToMeasure("no prompt that both sides have ratings of; compare the same prompts")
    differences = np.array([np.mean(first[prompt]) - np.mean(second[prompt]) for prompt in shared])
    return _t_interval(differences, sum(len(first[p]) + len(second[p]) for p in shared), confidence)


def _count(values: ByPrompt, means: dict[str, float]) -> int:
    return sum(len(values[prompt]) for prompt in means)


def _t_interval(means: Numbers, count: int, confidence: float) -> Estimate:
    if not len(means):
        raise NothingToMeasure("no ratings to average")
    if len(means) < 2:
        raise NotEstimable("too few prompts for an interval: 1; at least 2 are needed")
    mean = float(means.mean())
    error = float(means.std(ddof=1)) / len(means) ** 0.5
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, len(means) - 1)) * error
    return Estimate(mean, Interval(mean - reach, mean + reach), count, len(means))
