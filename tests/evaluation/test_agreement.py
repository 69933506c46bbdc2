import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from lima.evaluation.statistics.agreement import (
    agreement_without_ties,
    alpha_of_coincidences,
    cohen_kappa,
    krippendorff_alpha,
    pairwise,
    tie_discounted_agreement,
)
from lima.evaluation.statistics.estimates import InvalidObservations, NotEstimable, NothingToMeasure, two_sided_z
from lima.evaluation.statistics.proportions import score_bounds, wilson

verdict = st.sampled_from([-1.0, 0.0, 1.0])
pairs = st.lists(st.tuples(verdict, verdict), min_size=1, max_size=40)


def settings_of(seed: int = 3) -> dict:
    return {"confidence": 0.95, "resamples": 500, "rng": np.random.default_rng(seed)}


def test_one_point_if_both_agree_half_if_one_says_tie_else_none():
    # alike 1, one tie ½, opposite 0, both tie 1 → 2.5 / 4
    estimate = tie_discounted_agreement([1, 0, 1, 0], [1, -1, -1, 0], "abcd", confidence=0.95)
    assert (estimate.value, estimate.count, estimate.prompts) == (2.5 / 4, 4, 4)
    # two agree, one is opposite: the score interval of net 1/4, mapped by (1 + net) / 2
    low, high = score_bounds(np.array(2), np.array(1), np.array(4), z=two_sided_z(0.95))
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx(((1 + low) / 2, (1 + high) / 2), abs=1e-12)


@settings(max_examples=30)
@given(pairs)
def test_agreement_is_symmetric_in_annotators_and_in_contestants(values):
    first, second = [a for a, _ in values], [b for _, b in values]
    prompts = range(len(values))
    estimate = tie_discounted_agreement(first, second, prompts, confidence=0.95)
    assert tie_discounted_agreement(second, first, prompts, confidence=0.95) == estimate
    swapped = tie_discounted_agreement([-a for a in first], [-b for b in second], prompts, confidence=0.95)
    assert swapped == estimate
    assert tie_discounted_agreement(first, first, prompts, confidence=0.95).value == 1
    assert 0 <= estimate.interval.low <= estimate.value <= estimate.interval.high <= 1


def test_an_annotator_that_always_says_tie_scores_half_or_more():
    first = [1, -1, 1, 0]
    estimate = tie_discounted_agreement(first, [0] * 4, range(4), confidence=0.95)
    assert estimate.value == (3 * 0.5 + 1) / 4


def test_comparisons_of_one_prompt_are_dependent():
    first, second = [1, 1, -1, -1] * 10, [1, 1, 1, 1] * 10
    apart = tie_discounted_agreement(first, second, range(40), confidence=0.95)
    together = tie_discounted_agreement(first, second, [n // 2 for n in range(40)], confidence=0.95)
    assert apart.value == together.value == 0.5
    assert together.interval.low < apart.interval.low


def test_without_ties_agreement_is_a_share_with_wilsons_interval():
    estimate = agreement_without_ties([1, 1, -1, 0, 1], [1, -1, -1, 1, 0], range(5), confidence=0.95)
    assert (estimate.value, estimate.count) == (2 / 3, 3)
    assert estimate.interval == wilson(2 / 3, 3, confidence=0.95)
    with pytest.raises(NothingToMeasure, match="0 of 2"):
        agreement_without_ties([0, 1], [1, 0], range(2), confidence=0.95)


@given(st.lists(st.tuples(verdict, verdict), min_size=4, max_size=60))
def test_kappa_equals_statsmodels_and_scikit_learns(values):
    first, second = [a for a, _ in values], [b for _, b in values]
    if len({*first, *second}) < 2:
        return
    # κ is undefined in a resample with one verdict only: at most (1 − 1/n)^n, 37 %, of many resamples
    rng = np.random.default_rng(5)
    estimate = cohen_kappa(first, second, range(len(values)), confidence=0.95, resamples=400, rng=rng)
    table = np.zeros((3, 3))
    for a, b in values:
        table[int(a) + 1, int(b) + 1] += 1
    assert estimate.value == pytest.approx(cohens_kappa(table, return_results=False), abs=1e-9)
    assert estimate.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)


RNG = np.random.default_rng(5)


def ratings(rng, units: int, missing: float) -> list[list[float | None]]:
    truth = rng.integers(0, 4, units)
    rows = [np.where(rng.random(units) < 0.6, truth, rng.integers(0, 4, units)) for _ in range(3)]
    return [[None if rng.random() < missing else float(value) for value in row] for row in rows]


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_alpha_equals_krippendorffs_package_and_so_do_the_resampled_totals(level, missing):
    table = ratings(np.random.default_rng(6), 80, missing)
    reference = krippendorff.alpha(
        np.array([[np.nan if value is None else value for value in row] for row in table]), level_of_measurement=level
    )
    estimate = krippendorff_alpha(table, range(80), level=level, **settings_of())
    assert estimate.value == pytest.approx(reference, abs=1e-9)
    # the definition, written out: coincidences of units with two or more values
    coincidences = np.zeros((4, 4))
    for unit in zip(*table, strict=True):
        values = [int(value) for value in unit if value is not None]
        for i, a in enumerate(values):
            for j, b in enumerate(values):
                if i != j:
                    coincidences[a, b] += 1 / (len(values) - 1)
    assert alpha_of_coincidences(coincidences, np.arange(4.0), level=level) == pytest.approx(reference, abs=1e-9)
    assert estimate.interval.low < estimate.value < estimate.interval.high


def test_intervals_of_kappa_and_alpha_cover_the_truth():
    # Two annotators repeat the truth with probability 0.7, else choose one of three values: kappa = 0.49.
    rng, covered = np.random.default_rng(8), {"kappa": 0, "alpha": 0}
    for _ in range(200):
        truth = rng.integers(0, 3, 60)
        rows = [np.where(rng.random(60) < 0.7, truth, rng.integers(0, 3, 60)).astype(float) for _ in range(2)]
        common = {"confidence": 0.95, "resamples": 300, "rng": rng}
        kappa = cohen_kappa(rows[0].tolist(), rows[1].tolist(), range(60), **common)
        alpha = krippendorff_alpha([row.tolist() for row in rows], range(60), level="nominal", **common)
        covered["kappa"] += kappa.interval.low <= 0.49 <= kappa.interval.high
        covered["alpha"] += alpha.interval.low <= 0.49 <= alpha.interval.high
    # standard error √(0.95·0.05/200) = 0.015, four of them 0.06
    assert covered["kappa"] / 200 >= 0.88
    assert covered["alpha"] / 200 >= 0.88


def test_undefined_coefficients_raise():
    with pytest.raises(NotEstimable, match="one value only"):
        cohen_kappa([1, 1], [1, 1], range(2), **settings_of())
    with pytest.raises(NotEstimable, match="alpha undefined"):
        krippendorff_alpha([[1.0, 1.0], [1.0, 1.0]], range(2), level="nominal", **settings_of())
    with pytest.raises(InvalidObservations, match="unequal"):
        tie_discounted_agreement([1], [1, 0], "a", confidence=0.95)
    with pytest.raises(InvalidObservations, match="unknown verdict"):
        tie_discounted_agreement([2], [1], "a", confidence=0.95)


def test_pairs_of_annotators_are_compared_on_the_comparisons_both_judged():
    labels = {"ann": {"1": 1, "2": 0, "3": -1}, "ben": {"2": 0, "3": 1}, "eve": {"4": 1}}
    estimates = pairwise(labels, {item: item for item in "1234"}, confidence=0.95)
    assert {pair: (value.value, value.count) for pair, value in estimates.items()} == {("ann", "ben"): (0.5, 2)}
