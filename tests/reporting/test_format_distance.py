"""Distance of responses from the format of a training set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from lima.reporting import format_distance
from lima.reporting.format_distance import MARKS, PARAGRAPHS, marks

NAMES = [*MARKS, PARAGRAPHS]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Plain words - without any mark * at all.", []),
        ("- one\n- two", ["bullet list"]),
        ("1. one\n2. two", ["numbered list"]),
        ("# Title", ["heading"]),
        ("Title\n===", ["heading"]),
        ("```python\nx = 1\n# no heading\n```", ["code block"]),
        ("A **strong** word", ["emphasis"]),
        ("snake_case_name", []),
        ("|a|b|\n|-|-|\n|1|2|", ["table"]),
        ("One.\n\nTwo.", [PARAGRAPHS]),
        ("- one\n\n  more\n\n- two", ["bullet list"]),  # paragraphs of a list are not paragraphs of the response
    ],
)
def test_each_mark_is_recognised_by_what_markdown_makes_of_it(text, shown):
    assert [name for name, found in zip(NAMES, marks(text), strict=True) if found] == shown


def distance(texts, training):
    responses, examples = (format_distance._formats(part) for part in (texts, training))
    return format_distance._measure("arm", "contestant", responses, examples, seed=1)


def test_the_training_set_has_no_distance_from_itself():
    training = ["# A\n\nb c d", "- e\n- f", "g h"] * 5
    measured = distance(training, training)
    assert (measured.marks, measured.words) == (0, 0)
    assert measured.chance_marks > 0


def test_a_mark_that_all_responses_have_and_no_training_response_counts_as_its_share_of_the_marks():
    measured = distance(["- one two"] * 3, ["one two three"] * 9)
    assert measured.marks == pytest.approx(1 / len(NAMES))
    assert measured.words == 0
    assert measured.chance_marks == 0  # all training responses are alike


def test_lengths_without_overlap_have_distance_one():
    assert distance(["a b c d e"], ["a"] * 4).words == 1


def test_more_random_responses_are_nearer_to_the_training_set():
    training = ["# A\n\nb", "- e\n- f\n- g", "h i j k", "`x`", "l"] * 8
    few, many = distance(["a"] * 3, training), distance(["a"] * 60, training)
    assert many.chance_marks < few.chance_marks and many.chance_words < few.chance_words


COUNTS = st.lists(st.integers(0, 50), min_size=5, max_size=40)


@given(COUNTS, COUNTS)
def test_the_distance_of_lengths_is_scipys(one, other):
    expected = ks_2samp(one, other, method="asymp").statistic
    assert format_distance.kolmogorov_smirnov(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=8), st.lists(st.text(max_size=60), min_size=1, max_size=8))
def test_distances_of_any_texts_are_shares_and_symmetric(texts, training):
    one, other = distance(texts, training), distance(training, texts)
    assert 0 <= one.marks <= 1 and 0 <= one.words <= 1
    assert np.isclose(one.marks, other.marks) and np.isclose(one.words, other.words)
