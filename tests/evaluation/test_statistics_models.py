"""Ratings, seeds, prediction-powered and length-controlled estimates, clustered errors, power: equal to references."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api
import statsmodels.formula.api
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from lima.evaluation.statistics.clusters import clustered_error, clustered_mean
from lima.evaluation.statistics.estimates import Interval, InvalidObservations, NotEstimable, NothingToMeasure
from lima.evaluation.statistics.length_control import length_controlled
from lima.evaluation.statistics.power import (
    flip_rate,
    minimum_detectable_difference,
    minimum_detectable_true_difference,
    prompts_needed,
)
from lima.evaluation.statistics.prediction_powered import prediction_powered_mean
from lima.evaluation.statistics.proportions import clustered_share
from lima.evaluation.statistics.ratings import mean_difference, mean_rating
from lima.evaluation.statistics.seeds import mean_squares, seed_difference, seed_mean
from lima.evaluation.statistics.significance import exact_sign_flip, holm


def rng(seed: int = 17) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- clustered errors and shares -----------------------------------------------------------------------------------


def test_the_clustered_error_equals_that_of_statsmodels():
    sizes = rng(1).integers(1, 6, 30)
    groups = np.repeat(np.arange(30), sizes)
    values = rng(2).normal(size=30)[groups] + rng(3).normal(size=len(groups))
    fitted = statsmodels.api.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    sums = np.bincount(groups, weights=values)
    assert clustered_error(sums, sizes.astype(float)) == pytest.approx(float(fitted.bse[0]), abs=1e-9)
    by_prompt = {str(group): values[groups == group].tolist() for group in range(30)}
    estimate = clustered_mean(by_prompt, confidence=0.95)
    low, high = fitted.conf_int()[0]
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low, high), abs=1e-9)
    with pytest.raises(NotEstimable, match="1; at least 2"):
        clustered_mean({"a": [1.0, 2.0]}, confidence=0.95)


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=50))
def test_with_one_sample_the_clustered_share_has_statsmodels_wilson_interval(values):
    estimate = clustered_share({str(n): [value] for n, value in enumerate(values)}, confidence=0.9)
    reference = proportion_confint(sum(values), len(values), alpha=0.1, method="wilson")
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx(reference, abs=1e-9)
    same = clustered_share({str(n): [value] * 3 for n, value in enumerate(values)}, confidence=0.9)
    assert same.interval.high - same.interval.low >= 0.98 * (reference[1] - reference[0])


# --- tests ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_the_exact_p_value_equals_the_enumeration_of_all_signs(sums):
    values = np.array(sums, float)
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(values), indexing="ij")).reshape(len(values), -1)
    expected = np.mean(np.abs(values @ signs) >= abs(values.sum()))
    assert exact_sign_flip(values) == pytest.approx(expected, abs=1e-12)
    assert exact_sign_flip(-values) == pytest.approx(exact_sign_flip(values), abs=1e-12)


def test_with_one_verdict_per_prompt_the_exact_p_value_is_that_of_the_sign_test():
    sums = np.array([1.0] * 40 + [-1.0] * 22 + [0.0] * 38)
    assert exact_sign_flip(sums) == pytest.approx(scipy.stats.binomtest(40, 62).pvalue, abs=1e-9)
    with pytest.raises(InvalidObservations, match="integers"):
        exact_sign_flip(np.array([0.5]))


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_equals_statsmodels(values):
    expected = multipletests(values, method="holm")[1]
    adjusted = holm({str(n): value for n, value in enumerate(values)})
    assert list(adjusted.values()) == pytest.approx(expected, abs=1e-9)


# --- power ---------------------------------------------------------------------------------------------------------


def test_a_noisy_annotator_needs_a_larger_true_difference():
    nets = np.array([1.0, -1.0] * 50)
    plain = minimum_detectable_difference(nets, confidence=0.95, power=0.8)
    noisy = minimum_detectable_true_difference(nets, flip_rate=0.1, confidence=0.95, power=0.8)
    assert noisy == pytest.approx(plain / 0.8)  # 1 − 2 · 0.1
    assert minimum_detectable_true_difference(nets, flip_rate=0, confidence=0.95, power=0.8) == plain
    with pytest.raises(NotEstimable, match="random"):
        minimum_detectable_true_difference(nets, flip_rate=0.5, confidence=0.95, power=0.8)


def test_the_flip_rate_follows_from_repetitions_that_differ():
    assert flip_rate(2 * 0.1 * 0.9) == pytest.approx(0.1, abs=1e-12)
    assert flip_rate(0) == 0
    with pytest.raises(NotEstimable, match="no better than chance"):
        flip_rate(0.5)


def test_the_prompts_needed_give_the_power_through_a_noisy_annotator():
    net, decided, flips = 0.3, 0.8, 0.1
    prompts = prompts_needed(net, decided=decided, flip_rate=flips, confidence=0.95, power=0.8)
    assert prompts == 110  # (2.8016 / (0.8 · 0.3))² · 0.8 = 109.01
    generator, detected = rng(4), 0
    for _ in range(400):
        truth = generator.choice([1.0, -1.0, 0.0], size=prompts, p=[0.55, 0.25, 0.2])
        seen = np.where(generator.random(prompts) < flips, -truth, truth)
        detected += exact_sign_flip(seen) < 0.05
    # standard error √(0.8·0.2/400) = 0.02, four of them 0.08; the test is discrete, so a little below 0.8
    assert 0.71 <= detected / 400 <= 0.88


# --- ratings -------------------------------------------------------------------------------------------------------


def test_the_paired_difference_equals_scipys_paired_t_interval():
    first, second = rng(5).integers(1, 7, (20, 5)), rng(6).integers(1, 7, (20, 5))
    estimate = mean_difference(
        {str(n): row.tolist() for n, row in enumerate(first)},
        {str(n): row.tolist() for n, row in enumerate(second)},
        confidence=0.95,
    )
    reference = scipy.stats.ttest_rel(first.mean(1), second.mean(1))
    low, high = reference.confidence_interval(0.95)
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low, high), abs=1e-9)
    assert (estimate.prompts, estimate.count) == (20, 200)
    single = mean_rating({str(n): row.tolist() for n, row in enumerate(first)}, confidence=0.95)
    interval = scipy.stats.ttest_1samp(first.mean(1), 0).confidence_interval(0.95)
    assert (single.interval.low, single.interval.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_swapping_the_sides_mirrors_the_difference_and_lone_prompts_are_not_used():
    first, second = {"a": [1, 2], "b": [5], "c": [6]}, {"a": [3], "b": [4, 4], "d": [1]}
    one, other = (mean_difference(*sides, confidence=0.9) for sides in ((first, second), (second, first)))
    assert one.value == -other.value == (-1.5 + 1) / 2
    assert one.interval.low == pytest.approx(-other.interval.high)
    assert (one.prompts, one.count) == (2, 6)
    with pytest.raises(NothingToMeasure, match="no prompt that both"):
        mean_difference({"a": [1]}, {"b": [1]}, confidence=0.9)
    with pytest.raises(NotEstimable, match="at least 2"):
        mean_difference({"a": [1]}, {"a": [1]}, confidence=0.9)


# --- seeds ---------------------------------------------------------------------------------------------------------


def test_mean_squares_equal_statsmodels_analysis_of_variance():
    values = rng(7).normal(size=(4, 1)) + rng(8).normal(size=12) + rng(9).normal(size=(4, 12))
    seeds, prompts = np.meshgrid(range(4), range(12), indexing="ij")
    frame = pd.DataFrame({"y": values.ravel(), "s": seeds.ravel(), "p": prompts.ravel()})
    table = statsmodels.api.stats.anova_lm(statsmodels.formula.api.ols("y ~ C(s) + C(p)", frame).fit())
    squares = mean_squares(values)
    expected = tuple(table["sum_sq"] / table["df"])
    assert (squares.seeds, squares.prompts, squares.residual) == pytest.approx(expected, abs=1e-9)


def test_with_one_seed_the_difference_is_the_paired_t_interval_over_prompts():
    first, second = rng(10).normal(size=(1, 25)), rng(11).normal(size=(1, 25))
    estimate = seed_difference(first, second, confidence=0.95)
    low, high = scipy.stats.ttest_rel(first[0], second[0]).confidence_interval(0.95)
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low, high), abs=1e-9)
    assert (estimate.covers_seeds, estimate.seed_error) == (False, 0.0)
    mirrored = seed_difference(second, first, confidence=0.95)
    assert mirrored.interval.low == pytest.approx(-estimate.interval.high)


def test_intervals_over_seeds_cover_new_seeds_and_those_over_prompts_do_not():
    generator, covered, ignored, simulations = rng(12), 0, 0, 500
    for _ in range(simulations):
        sides = [0.2 * generator.normal(size=(4, 1)) + generator.normal(size=(4, 50)) for _ in range(2)]
        estimate = seed_difference(*sides, confidence=0.95)
        covered += estimate.interval.low <= 0 <= estimate.interval.high
        ignored += abs(estimate.value) <= 2.01 * estimate.prompt_error
    # standard error √(0.95·0.05/500) = 0.01. The standard deviation of the value is √(2·(0.04/4 + 1/200)) = 0.17; from
    # prompts alone √(2/200) = 0.1: P(|z| < 2.01 · 0.1/0.17) = 0.75
    assert 0.915 <= covered / simulations <= 0.99
    assert ignored / simulations < 0.82
    assert estimate.covers_seeds


def test_intervals_of_a_mean_over_two_seeds_cover_new_seeds():
    generator, covered, simulations = rng(13), 0, 400
    for _ in range(simulations):
        values = 0.3 * generator.normal(size=(2, 1)) + generator.normal(size=(2, 60))  # as of paired differences
        interval = seed_mean(values, confidence=0.95).interval
        covered += interval.low <= 0 <= interval.high
    # standard error √(0.95·0.05/400) = 0.011; 0.88 with Satterthwaite's degrees of freedom
    assert covered / simulations >= 0.92


def test_the_p_value_is_the_level_whose_interval_ends_at_zero():
    values = 0.4 + 0.1 * rng(14).normal(size=(3, 1)) + rng(15).normal(size=(3, 40))
    estimate = seed_mean(values, confidence=0.95)
    at_zero = seed_mean(values, confidence=1 - estimate.p_value()).interval
    assert at_zero.low == pytest.approx(0, abs=1e-6)
    # the first component alone is the t-test over the prompts' means
    prompts = replace(estimate, components=estimate.components[:1])
    assert prompts.p_value() == pytest.approx(scipy.stats.ttest_1samp(values.mean(0), 0).pvalue)
    assert seed_mean(np.ones((2, 3)), confidence=0.95).p_value() is None
    assert replace(prompts, value=1e6).p_value() == 1e-30


def test_tables_of_different_prompts_or_with_missing_values_raise():
    with pytest.raises(InvalidObservations, match="3 and 4 prompts"):
        seed_difference(np.ones((2, 3)), np.ones((2, 4)), confidence=0.95)
    with pytest.raises(InvalidObservations, match="missing values"):
        seed_mean(np.array([[1.0, np.nan]]), confidence=0.95)
    with pytest.raises(NotEstimable, match="too few prompts"):
        seed_mean(np.ones((3, 1)), confidence=0.95)


# --- prediction-powered inference ------------------------------------------------------------------------------------


NETS = Interval(-1.0, 1.0)


def labels(generator, size: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    human = generator.choice([1.0, 0.0, -1.0], size=size, p=[0.5, 0.2, 0.3])  # mean 0.2
    guess = generator.choice([1.0, 0.0, -1.0], size=size, p=[0.8, 0.1, 0.1])  # mean 0.7: a biased model
    return human, np.where(generator.random(size) < accuracy, human, guess)


def test_the_tuned_estimate_has_the_least_variance_and_corrects_the_models_bias():
    human, model = labels(rng(13), 4000, 0.7)
    estimate = prediction_powered_mean(human[:400], model[:400], model[400:], space=NETS, confidence=0.95)

    def variance(weight: float) -> float:
        return weight**2 * model[400:].var(ddof=1) / 3600 + (human[:400] - weight * model[:400]).var(ddof=1) / 400

    best = min(np.linspace(0, 1, 1001), key=variance)
    assert estimate.tuning == pytest.approx(best, abs=0.03)
    assert estimate.value == pytest.approx(
        estimate.tuning * model[400:].mean() + (human[:400] - estimate.tuning * model[:400]).mean(), abs=1e-12
    )
    reach = scipy.stats.t.ppf(0.975, 398) * np.sqrt(variance(estimate.tuning))
    assert estimate.interval.high - estimate.value == pytest.approx(reach, abs=1e-9)
    assert estimate.equivalent > 550  # at an accuracy of 0.7
    assert model.mean() > 0.3 > estimate.interval.high  # the model's own mean, 0.2 + 0.3 · (0.7 − 0.2), is wrong


def test_the_interval_covers_the_human_mean_and_is_narrower_than_without_the_model():
    generator, covered, ratio, simulations = rng(14), 0, [], 800
    for _ in range(simulations):
        human, model = labels(generator, 300, 0.8)
        estimate = prediction_powered_mean(human[:30], model[:30], model[30:], space=NETS, confidence=0.95)
        covered += estimate.interval.low <= 0.2 <= estimate.interval.high
        alone = estimate.human_interval
        ratio.append((estimate.interval.high - estimate.interval.low) / (alone.high - alone.low))
    assert 0.92 <= covered / simulations <= 0.98  # standard error 0.008
    assert np.mean(ratio) < 0.8


def test_limits_outside_the_range_of_the_labels_are_restricted_to_it():
    human = np.array([1.0] * 11 + [0.0])
    model, unlabelled = np.array([1.0] * 11 + [0.0]), np.array([1.0] * 38 + [0.0] * 2)
    wide = prediction_powered_mean(human, model, unlabelled, space=Interval(-9.0, 9.0), confidence=0.95)
    estimate = prediction_powered_mean(human, model, unlabelled, space=NETS, confidence=0.95)
    assert wide.interval.high > 1 and wide.human_interval.high > 1
    assert (estimate.value, estimate.interval) == (wide.value, Interval(wide.interval.low, 1.0))
    assert estimate.human_interval == Interval(wide.human_interval.low, 1.0)


def test_labels_without_a_spread_have_no_interval():
    with pytest.raises(NotEstimable, match="no spread among the labels of 12 prompts"):
        prediction_powered_mean(np.ones(12), np.ones(12), np.ones(40), space=NETS, confidence=0.95)


def test_a_model_without_information_leaves_the_human_mean():
    human = np.array([1.0, -1.0, 1.0, 0.0, 1.0])
    estimate = prediction_powered_mean(human, np.zeros(5), np.zeros(40), space=Interval(-2.0, 2.0), confidence=0.95)
    assert (estimate.tuning, estimate.value, estimate.equivalent) == (0.0, human.mean(), 5.0)
    low, high = scipy.stats.ttest_1samp(human, 0).confidence_interval(0.95)
    assert (estimate.human_interval.low, estimate.human_interval.high) == pytest.approx((low, high), abs=1e-9)
    with pytest.raises(NotEstimable, match="2 human"):
        prediction_powered_mean(human[:2], human[:2], human, space=NETS, confidence=0.95)


# --- length control --------------------------------------------------------------------------------------------------


def verdicts_by_length(generator, prompts: int, theta: float = 0.3, slope: float = 1.0):
    lengths = 300 * generator.normal(size=prompts) + 200
    chance = 1 / (1 + np.exp(-theta - slope * np.tanh(lengths / np.sqrt(np.mean(lengths**2)))))
    return np.where(generator.random(prompts) < chance, 1.0, -1.0), lengths


def test_the_regression_equals_statsmodels_logit_with_clustered_errors():
    values, lengths = verdicts_by_length(rng(15), 200)
    groups = np.arange(200) // 2
    estimate = length_controlled(values, lengths, groups.tolist(), confidence=0.95)
    design = np.column_stack([np.ones(200), np.tanh(lengths / np.sqrt(np.mean(lengths**2)))])
    fitted = statsmodels.api.Logit((1 + values) / 2, design).fit(
        disp=False, cov_type="cluster", cov_kwds={"groups": groups}, use_t=True, tol=1e-12, method="newton"
    )
    assert estimate.slope == pytest.approx(float(fitted.params[1]), abs=1e-9)
    assert estimate.net == pytest.approx(float(np.tanh(fitted.params[0] / 2)), abs=1e-9)  # 2σ(θ) − 1
    quantile = scipy.stats.t.ppf(0.975, 99)
    low, high = (np.tanh((fitted.params[0] + sign * quantile * fitted.bse[0]) / 2) for sign in (-1, 1))
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low, high), abs=1e-6)


def test_control_moves_a_preference_for_length_towards_the_net_at_equal_length():
    generator, covered, simulations = rng(16), 0, 150
    truth = np.tanh(0.15)  # 2σ(0.3) − 1
    for _ in range(simulations):
        values, lengths = verdicts_by_length(generator, 100)
        estimate = length_controlled(values, lengths, range(100), confidence=0.95)
        covered += estimate.interval.low <= truth <= estimate.interval.high
    assert covered / simulations >= 0.89  # standard error 0.018
    values, lengths = verdicts_by_length(rng(18), 5000)
    estimate = length_controlled(values, lengths, range(5000), confidence=0.95)
    assert estimate.raw > estimate.interval.high  # the contestant writes more, and length is preferred
    assert estimate.slope_interval.low > 0


def test_swapping_the_contestants_mirrors_the_length_controlled_net():
    values, lengths = verdicts_by_length(rng(19), 60)
    values[:10] = 0  # ties
    one = length_controlled(values, lengths, range(60), confidence=0.9)
    other = length_controlled(-values, -lengths, range(60), confidence=0.9)
    assert (other.net, other.interval.low) == pytest.approx((-one.net, -one.interval.high), abs=1e-9)
    assert other.slope == pytest.approx(one.slope, abs=1e-9)


def test_verdicts_that_length_explains_entirely_have_no_estimate():
    with pytest.raises(NotEstimable, match="separated by length"):
        length_controlled([1, 1, -1, -1], [30, 10, -10, -20], range(4), confidence=0.95)
    with pytest.raises(NotEstimable, match="same amount"):
        length_controlled([1, 0, -1], [5, 5, 5], range(3), confidence=0.95)
    with pytest.raises(NotEstimable, match="separated by length"):
        length_controlled([1, 1, 1], [5, 1, 2], range(3), confidence=0.95)
