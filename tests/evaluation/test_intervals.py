import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lima.evaluation.statistics import NothingToMeasure, bootstrap, wilson

SETTINGS = {"confidence": 0.95, "resamples": 1000}


def rng(seed: int = 17) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_with_one_value_per_prompt_the_bootstrap_equals_scipys():
    values = rng(1).choice([-1.0, 0.0, 1.0], size=60, p=[0.25, 0.3, 0.45])
    reference = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="percentile", rng=rng(2)
    )
    interval = bootstrap(values, np.ones(60), confidence=0.9, resamples=20_000, rng=rng(3))
    # A 5 % quantile of 20,000 normal draws of spread s has a standard error of √(0.05·0.95/20,000)/0.103·s = 0.015 s;
    # of a difference between two such 0.021 s, and five of those 0.11 s. Means of 60 lie on a grid of 1/60 = 0.16 s.
    reach = 0.27 * reference.standard_error
    assert interval.low == pytest.approx(reference.confidence_interval.low, abs=reach)
    assert interval.high == pytest.approx(reference.confidence_interval.high, abs=reach)


def test_repeated_samples_do_not_narrow_the_interval():
    once = rng(4).normal(size=40)
    thrice = bootstrap(3 * once, np.full(40, 3.0), rng=rng(), **SETTINGS)
    single = bootstrap(once, np.ones(40), rng=rng(), **SETTINGS)
    assert (thrice.low, thrice.high) == pytest.approx((single.low, single.high))


def test_coverage_is_nominal_over_prompts_and_too_low_over_samples():
    simulations, prompts, samples = 400, 50, 4
    covered = {"prompts": 0, "samples": 0}
    draws = rng(5)
    for _ in range(simulations):
        values = draws.normal(size=(prompts, 1)) + 0.5 * draws.normal(size=(prompts, samples))  # the true mean is 0
        by_prompt = bootstrap(values.sum(axis=1), np.full(prompts, float(samples)), rng=draws, **SETTINGS)
        by_sample = bootstrap(values.ravel(), np.ones(values.size), rng=draws, **SETTINGS)
        covered["prompts"] += by_prompt.low <= 0 <= by_prompt.high
        covered["samples"] += by_sample.low <= 0 <= by_sample.high
    # 0.95 in the long run, about 0.94 with 50 prompts; standard error √(0.94·0.06/400) = 0.012, four of them 0.048.
    assert 0.89 <= covered["prompts"] / simulations <= 0.985
    # Over samples the spread is taken for √(1.25/200) = 0.08 but is √(1/50 + 0.25/200) = 0.146: P(|z| < 1.06) = 0.71.
    assert covered["samples"] / simulations < 0.80


def test_an_interval_without_observations_raises():
    with pytest.raises(NothingToMeasure, match="no prompts"):
        bootstrap(np.array([]), np.array([]), rng=rng(), **SETTINGS)
    with pytest.raises(NothingToMeasure, match="no observations"):
        wilson(0.0, 0, confidence=0.95)


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_wilson_interval_equals_scipys(count, part, confidence):
    hits = round(part * count)
    reference = scipy.stats.binomtest(hits, count).proportion_ci(confidence, method="wilson")
    interval = wilson(hits / count, count, confidence=confidence)
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_the_wilson_interval_of_78_percent_of_50_is_64_8_to_87_2():
    interval = wilson(0.78, 50, confidence=0.95)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.648, 0.872)


def test_the_coverage_of_the_wilson_interval_is_nominal_with_twenty_observations():
    shares = np.linspace(0.05, 0.95, 91)
    intervals = [wilson(hits / 20, 20, confidence=0.95) for hits in range(21)]
    covered = [
        sum(scipy.stats.binom.pmf(hits, 20, share) for hits, i in enumerate(intervals) if i.low <= share <= i.high)
        for share in shares
    ]
    assert np.mean(covered) == pytest.approx(
        0.95, abs=0.01
    )  # summed exactly; for single shares it swings from 0.92 to 0.98
    assert min(covered) > 0.9


def test_with_unequal_samples_prompts_are_resampled_and_every_sample_has_the_same_weight():
    # 25 prompts of five samples that win three of five times, 25 of one sample that loses three of five times
    draws = rng(6)
    many = draws.choice([1.0, -1.0], size=(25, 5), p=[0.6, 0.4]).sum(axis=1)
    single = draws.choice([1.0, -1.0], size=25, p=[0.4, 0.6])
    sums, sizes = np.concatenate([many, single]), np.repeat([5.0, 1.0], 25)
    reference = scipy.stats.bootstrap(
        (sums, sizes),
        lambda s, n, axis=-1: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=0.9,
        n_resamples=20_000,
        method="percentile",
        rng=rng(7),
    )
    interval = bootstrap(sums, sizes, confidence=0.9, resamples=20_000, rng=rng(8))
    # five standard errors of a difference between two 5 % quantiles of 20,000 draws: 0.11 standard deviations
    reach = 0.11 * reference.standard_error
    assert interval.low == pytest.approx(reference.confidence_interval.low, abs=reach)
    assert interval.high == pytest.approx(reference.confidence_interval.high, abs=reach)
    # the ratio of totals differs from the mean of the prompts' means, in which prompts of one sample weigh as much
    assert interval.low < sums.sum() / sizes.sum() < interval.high
    assert abs(sums.sum() / sizes.sum() - np.mean(sums / sizes)) > 0.1
