import dataclasses

import numpy as np
import pytest
from judged import judged

from lima.evaluation import statistics
from lima.reporting import metrics


def with_p(p_value: float) -> statistics.Preference:
    measured = statistics.measure_preference(
        [judged("win", "1")], confidence=0.95, resamples=10, power=0.8, rng=np.random.default_rng(1)
    )
    return dataclasses.replace(measured, p_value=p_value)


def test_p_values_are_corrected_over_the_comparisons_of_one_annotator():
    measured = {
        "a-b": {"judge": with_p(0.01), "person": with_p(0.03)},
        "a-c": {"judge": with_p(0.04)},
        "a-d": {"judge": with_p(0.02)},
    }
    # judge: 3·0.01 = 0.03; 2·0.02 = 0.04; max(0.04, 1·0.04) = 0.04; person: a family of one comparison stays 0.03
    assert metrics.adjusted(measured) == pytest.approx(
        {("a-b", "judge"): 0.03, ("a-d", "judge"): 0.04, ("a-c", "judge"): 0.04, ("a-b", "person"): 0.03}
    )


def test_a_preference_with_unequal_samples_is_bootstrapped_over_prompts():
    # 25 prompts of five equal verdicts and 25 of one: n is 150, but only 50 prompts are independent
    verdicts = [judged("win" if i < 15 else "lose", f"many-{i}", sample=s) for i in range(25) for s in range(5)]
    verdicts += [judged("win" if i < 10 else "lose", f"single-{i}") for i in range(25)]
    measured = statistics.measure_preference(
        verdicts, confidence=0.95, resamples=4000, power=0.8, rng=np.random.default_rng(2)
    )
    assert (measured.n, measured.prompts) == (150, 50)
    assert measured.net == pytest.approx((75 - 50 + 10 - 15) / 150)
    width = measured.interval.high - measured.interval.low
    # linearised standard error of the ratio: √Σ(sumᵢ − net·sizeᵢ)² / 150 = √(25·25 + 25·1 − …)/150 ≈ 0.168
    sums = np.array([5.0] * 15 + [-5.0] * 10 + [1.0] * 10 + [-1.0] * 15)
    sizes = np.repeat([5.0, 1.0], 25)
    error = np.sqrt(np.sum((sums - measured.net * sizes) ** 2)) / 150
    assert width == pytest.approx(2 * 1.96 * error, rel=0.08)
    # over verdicts instead of prompts the interval would be about half as wide: 2·1.96·√(1/150) = 0.32
    assert width > 0.6
