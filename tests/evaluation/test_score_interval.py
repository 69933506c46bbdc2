"""Score interval of win − lose: equal to its definition, invariant, and of nominal coverage."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy

from lima.evaluation.statistics.clusters import bootstrap
from lima.evaluation.statistics.estimates import InvalidObservations, NothingToMeasure, two_sided_z
from lima.evaluation.statistics.preference import net_preference
from lima.evaluation.statistics.proportions import clustered_score_bounds, score_bounds, wilson

SETTINGS = {"confidence": 0.95, "power": 0.8}
outcomes = st.sampled_from([-1.0, 0.0, 1.0])
verdicts = st.dictionaries(st.text(max_size=3), st.lists(outcomes, min_size=1, max_size=4), min_size=1, max_size=30)


def reference_bound(wins: int, losses: int, count: int, *, z: float, end: float) -> float:
    """Invert the score statistic with a root finder; the restricted likelihood is maximised numerically."""

    def statistic(delta: float) -> float:
        def slope(lost: float) -> float:  # derivative of the log-likelihood; decreases in `lost`
            return wins / (lost + delta) + losses / lost - 2 * (count - wins - losses) / (1 - 2 * lost - delta)

        lost = scipy.optimize.brentq(slope, max(0.0, -delta) + 1e-13, (1 - delta) / 2 - 1e-13, xtol=1e-15)
        return (wins - losses - count * delta) / np.sqrt(count * (2 * lost + delta - delta**2))

    net = (wins - losses) / count
    sign = 1 if end < 0 else -1
    return scipy.optimize.brentq(lambda delta: statistic(delta) - sign * z, net, end * (1 - 1e-9), xtol=1e-14)


@pytest.mark.parametrize(
    ("wins", "losses", "count"), [(7, 3, 20), (1, 12, 30), (40, 30, 300), (2, 2, 50), (25, 20, 50)]
)
def test_the_score_interval_inverts_the_score_statistic(wins, losses, count):
    z = two_sided_z(0.95)
    low, high = score_bounds(np.array(wins), np.array(losses), np.array(count), z=z)
    assert float(low) == pytest.approx(reference_bound(wins, losses, count, z=z, end=-1.0), abs=1e-9)
    assert float(high) == pytest.approx(reference_bound(wins, losses, count, z=z, end=1.0), abs=1e-9)


@settings(max_examples=40)
@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_without_ties_the_score_interval_is_wilsons(count, part, confidence):
    # share p of wins without ties: net = 2p − 1, and Tango's statistic is the score statistic of p
    wins = round(part * count)
    low, high = score_bounds(np.array(wins), np.array(count - wins), np.array(count), z=two_sided_z(confidence))
    share = wilson(wins / count, count, confidence=confidence)
    assert (float(low), float(high)) == pytest.approx((2 * share.low - 1, 2 * share.high - 1), abs=1e-9)


@settings(max_examples=40)
@given(verdicts)
def test_swapping_the_contestants_negates_the_net_and_mirrors_the_interval(values):
    one = net_preference(values, **SETTINGS)
    other = net_preference({prompt: [-value for value in samples] for prompt, samples in values.items()}, **SETTINGS)
    assert (other.win, other.tie, other.lose) == (one.lose, one.tie, one.win)
    assert other.net == -one.net
    mirrored = (-one.interval.high, -one.interval.low)
    assert (other.interval.low, other.interval.high) == pytest.approx(mirrored, abs=1e-12)
    assert (other.p_value, other.smallest) == pytest.approx((one.p_value, one.smallest))


@settings(max_examples=40)
@given(verdicts, st.randoms(use_true_random=False))
def test_the_order_of_prompts_and_samples_does_not_matter(values, random):
    shuffled = {prompt: random.sample(values[prompt], len(values[prompt])) for prompt in values}
    prompts = random.sample(list(shuffled), len(shuffled))
    assert net_preference({prompt: shuffled[prompt] for prompt in prompts}, **SETTINGS) == net_preference(
        values, **SETTINGS
    )


@settings(max_examples=40)
@given(verdicts)
def test_the_interval_contains_the_net_and_lies_within_minus_one_and_one(values):
    estimate = net_preference(values, **SETTINGS)
    assert -1 <= estimate.interval.low <= estimate.net <= estimate.interval.high <= 1
    assert estimate.interval.low < estimate.interval.high
    assert estimate.win + estimate.tie + estimate.lose == pytest.approx(1)
    assert 1 - 1e-9 <= estimate.effective <= estimate.count + 1e-9


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 5))
def test_ties_alone_have_a_net_of_zero_with_an_interval_around_it(prompts, samples):
    estimate = net_preference({str(prompt): [0.0] * samples for prompt in range(prompts)}, **SETTINGS)
    assert (estimate.net, estimate.p_value, estimate.smallest) == (0.0, 1.0, None)
    reach = 3.841458820694124 / (prompts + 3.841458820694124)  # z² / (n + z²): samples that agree are one observation
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((-reach, reach), abs=1e-9)


@settings(max_examples=40)
@given(st.lists(outcomes, min_size=1, max_size=40), st.integers(2, 5))
def test_copies_of_a_verdict_do_not_narrow_the_interval(values, copies):
    once = net_preference({str(n): [value] for n, value in enumerate(values)}, **SETTINGS)
    repeated = net_preference({str(n): [value] * copies for n, value in enumerate(values)}, **SETTINGS)
    width = once.interval.high - once.interval.low
    assert repeated.interval.high - repeated.interval.low >= 0.98 * width  # the design effect is a little below 5


def draws(rng, *, simulations, prompts, samples, share, ties, correlation):
    """Wins and losses of each prompt, shape (simulations, prompts), from a Dirichlet-multinomial distribution."""
    means = np.array([share * (1 - ties), (1 - share) * (1 - ties), ties])
    chances = np.broadcast_to(means, (simulations, prompts, 3))
    if samples > 1:
        chances = np.maximum(rng.standard_gamma(chances * (1 - correlation) / correlation), 1e-300)
        chances = chances / chances.sum(-1, keepdims=True)
    counts = rng.multinomial(samples, chances)
    return counts[..., 0].astype(float), counts[..., 1].astype(float)


CELLS = [
    # prompts, samples, share of wins among decided verdicts, share of ties
    (20, 1, 0.1, 0.2),
    (50, 1, 0.05, 0.0),
    (20, 5, 0.05, 0.2),
    (30, 5, 0.05, 0.0),
]


@pytest.mark.parametrize(("prompts", "samples", "share", "ties"), CELLS)
def test_coverage_at_small_sizes_and_lopsided_shares_is_near_95_percent(prompts, samples, share, ties):
    simulations, rng = 4000, np.random.default_rng(21)
    sizes = np.full((simulations, prompts), float(samples))
    wins, losses = draws(
        rng, simulations=simulations, prompts=prompts, samples=samples, share=share, ties=ties, correlation=0.5
    )
    truth = (2 * share - 1) * (1 - ties)
    low, high, _ = clustered_score_bounds(wins, losses, sizes, z=two_sided_z(0.95))
    covered = np.mean((low <= truth) & (truth <= high))
    # standard error √(0.95·0.05/4000) = 0.0034; target 0.93 to 0.975
    assert 0.923 <= covered <= 0.982


def test_the_percentile_bootstrap_covers_too_little_in_these_cells():
    # The reason for the score interval; with 20 prompts and 5 % wins the sample often has one outcome only.
    rng = np.random.default_rng(22)
    wins, losses = draws(rng, simulations=300, prompts=20, samples=1, share=0.05, ties=0.0, correlation=0.5)
    covered = 0
    for sums in wins - losses:
        interval = bootstrap(sums, np.ones(20), confidence=0.95, resamples=400, rng=rng)
        covered += interval.low <= -0.9 <= interval.high
    assert covered / 300 < 0.75  # 1 − 0.95²⁰ = 0.64 of the samples have a win at all


def test_unknown_values_and_missing_verdicts_raise():
    with pytest.raises(InvalidObservations, match=r"unknown value: 2.* of prompt a; pass one of -1, 0, 1"):
        net_preference({"a": [1.0, 2.0]}, **SETTINGS)
    with pytest.raises(NothingToMeasure, match="0 prompts"):
        net_preference({"a": []}, **SETTINGS)


def test_the_restricted_estimate_maximises_the_likelihood():
    # p̃ of score_bounds' docstring against a grid, wins 7, losses 3, ties 10, δ = 0.3
    wins, losses, count, delta = 7, 3, 20, 0.3
    a, b, c = 2 * count, (2 * count - wins + losses) * delta - wins - losses, -losses * delta * (1 - delta)
    closed = (np.sqrt(b**2 - 4 * a * c) - b) / (2 * a)
    grid = np.linspace(1e-6, (1 - delta) / 2 - 1e-6, 200_001)
    likelihood = xlogy(wins, grid + delta) + xlogy(losses, grid) + xlogy(count - wins - losses, 1 - 2 * grid - delta)
    assert closed == pytest.approx(grid[np.argmax(likelihood)], abs=1e-5)
