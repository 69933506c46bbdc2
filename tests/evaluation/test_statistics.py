import numpy as np
import pytest
import scipy.stats
from judged import judged

from lima.evaluation.statistics import NothingToMeasure, measure_preference, minimum_detectable_difference, sign_flip
from lima.records import Judgment

SETTINGS = {"confidence": 0.95, "resamples": 2000, "power": 0.8}


def verdicts_of(*outcomes: str, prompt: int | None = None) -> list[Judgment]:
    return [
        judged(outcome, str(number if prompt is None else prompt), sample=0 if prompt is None else number)
        for number, outcome in enumerate(outcomes)
    ]


def measured(verdicts, seed=17):
    return measure_preference(verdicts, rng=np.random.default_rng(seed), **SETTINGS)


def test_inconsistent_or_unparsed_verdicts_are_not_ties_and_count_for_neither_side():
    preference = measured(verdicts_of("win", "win", "win", "tie", "lose", "inconsistent", "inconsistent", "unparsed"))
    shares = {"win": 3 / 8, "tie": 1 / 8, "lose": 1 / 8, "inconsistent": 2 / 8, "unparsed": 1 / 8, "failed": 0.0}
    assert preference.shares == shares
    assert preference.net == 2 / 8  # (3 − 1) of 8
    assert (preference.n, preference.prompts) == (8, 8)


@pytest.mark.parametrize("outcome", ["inconsistent", "unparsed", "failed"])
def test_the_net_is_none_without_a_usable_verdict(outcome):
    preference = measured(verdicts_of(*[outcome] * 12))
    assert (preference.n, preference.usable, preference.prompts, preference.shares[outcome]) == (12, 0, 12, 1.0)
    assert (preference.net, preference.interval, preference.p_value, preference.smallest) == (None, None, None, None)
    ties = measured(verdicts_of(*[outcome] * 11, "tie"))
    assert (ties.usable, ties.net) == (1, 0.0)
    # Without a win or a loss the bounds are ±z²/(n + z²), here ±3.841/15.841: twelve prompts do not show a net of 0.
    assert (ties.interval.low, ties.interval.high) == pytest.approx((-0.2425, 0.2425), abs=5e-5)


def test_samples_of_one_prompt_are_one_cluster():
    one_prompt = measured(verdicts_of("win", "lose", "win", "win", prompt=1))
    assert (one_prompt.n, one_prompt.prompts) == (4, 1)
    assert one_prompt.net == 0.5  # (3 − 1) / 4
    assert one_prompt.interval.low < -0.7  # one independent observation shows next to nothing
    four_prompts = measured(verdicts_of("win", "lose", "win", "win"))
    assert four_prompts.interval.low > one_prompt.interval.low


def test_the_order_of_the_verdicts_does_not_matter():
    verdicts = verdicts_of("win", "lose", "tie", "win", "win")
    assert measured(verdicts) == measured(verdicts[::-1])


def test_with_one_sample_per_prompt_the_p_value_equals_that_of_the_sign_test():
    sums = np.array([1.0] * 14 + [-1.0] * 5 + [0.0] * 11)
    preference = sign_flip(sums, flips=40_000, rng=np.random.default_rng(3))
    exact = scipy.stats.binomtest(14, 19).pvalue
    # standard error √(0.064·0.936/40,000) = 0.0012, four of them 0.005
    assert preference == pytest.approx(exact, abs=0.005)


def test_with_several_samples_the_p_value_equals_that_of_scipys_permutation_test():
    sums = np.array([3.0, 2.0, -1.0, 3.0, 1.0, 0.0, -2.0, 2.0])
    exact = scipy.stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    preference = sign_flip(sums, flips=40_000, rng=np.random.default_rng(3))
    # standard error √(0.17·0.83/40,000) = 0.0019, four of them 0.008
    assert preference == pytest.approx(exact.pvalue, abs=0.008)


def test_ties_alone_have_no_minimum_detectable_difference():
    ties = measured(verdicts_of("tie", "tie", "tie"))
    assert (ties.net, ties.p_value, ties.smallest) == (0.0, 1.0, None)


def test_the_minimum_detectable_difference_of_100_decided_prompts_is_28_points():
    # (1.960 + 0.842) · 1 / √100 = 0.280
    nets = np.array([1.0, -1.0] * 50)
    assert minimum_detectable_difference(nets, confidence=0.95, power=0.8) == pytest.approx(0.280, abs=5e-4)


def test_the_minimum_detectable_difference_assumes_a_true_net_of_zero():
    # All of 100 prompts won: Σ net² / n is 1, though the spread around their own mean is 0.
    assert minimum_detectable_difference(np.ones(100), confidence=0.95, power=0.8) == pytest.approx(0.280, abs=5e-4)


def test_repeated_samples_do_not_lower_the_minimum_detectable_difference():
    once = measured(verdicts_of("win", "lose", "win", "tie"))
    twice = measured([v for n, o in enumerate(("win", "lose", "win", "tie")) for v in verdicts_of(o, o, prompt=n)])
    assert twice.smallest == once.smallest


def test_a_net_of_the_minimum_detectable_difference_is_detected_with_the_given_power():
    prompts, decided, simulations = 150, 0.6, 400
    rng = np.random.default_rng(11)
    nets = np.repeat([1.0, -1.0, 0.0], [45, 45, 60])  # 0.6 of 150 decided, evenly
    net = minimum_detectable_difference(nets, confidence=0.95, power=0.8)
    assert net == pytest.approx(2.802 * np.sqrt(decided / prompts), abs=1e-3)  # 0.177
    chances = [(decided + net) / 2, (decided - net) / 2, 1 - decided]
    detected = 0
    for _ in range(simulations):
        sums = rng.choice([1.0, -1.0, 0.0], size=prompts, p=chances)
        detected += sign_flip(sums, flips=500, rng=rng) < 0.05
    # standard error √(0.8·0.2/400) = 0.02, four of them 0.08; the test is discrete, so a little below 0.8
    assert 0.71 <= detected / simulations <= 0.88


def test_the_false_positive_rate_is_at_most_the_level():
    rng = np.random.default_rng(12)
    low = sum(sign_flip(rng.choice([1.0, -1.0, 0.0], size=60), flips=500, rng=rng) < 0.05 for _ in range(400))
    # at most 0.05, less for a discrete test; standard error √(0.05·0.95/400) = 0.011, four of them 0.044
    assert 0.01 <= low / 400 <= 0.094


def test_no_verdicts_raise():
    with pytest.raises(NothingToMeasure, match="dvc repro judge"):
        measured([])
