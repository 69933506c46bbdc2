from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.evaluation.statistics import holm


def test_the_kth_smallest_p_value_is_multiplied_by_the_number_of_those_left():
    # sorted 0.01, 0.03, 0.04: 3·0.01 = 0.03; 2·0.03 = 0.06; max(0.06, 1·0.04) = 0.06
    assert holm({"b": 0.04, "a": 0.01, "c": 0.03}) == pytest.approx({"b": 0.06, "a": 0.03, "c": 0.06})


def test_no_p_value_exceeds_one():
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}  # 2·0.7 = 1.4


@given(st.dictionaries(st.sampled_from("abcde"), st.floats(0, 1), min_size=1))
def test_holm_is_the_closed_test_with_bonferroni(p_values):
    # Closed test: a hypothesis is rejected only if every family with it is rejected at |family| · min p.
    families = [f for size in range(1, len(p_values) + 1) for f in combinations(p_values, size)]
    for name, adjusted in holm(p_values).items():
        closed = max(len(f) * min(p_values[member] for member in f) for f in families if name in f)
        assert adjusted == pytest.approx(min(1.0, closed))
