from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.text.shingles import closest, near_duplicates, pairs, shingles

TEXTS = {"a": "abcd", "b": "bcde", "c": "xyz", "d": "abcd!"}


def test_the_index_is_intersection_over_union():
    # chars 2: {ab, bc, cd}, {bc, cd, de}, {xy, yz}, {ab, bc, cd}: a–b and b–d 2 of 4, a–d 3 of 3, c shares nothing
    indexes = {(pair.first, pair.second): pair.jaccard for pair in pairs(TEXTS, chars=2)}
    assert indexes == {("a", "b"): 0.5, ("a", "d"): 1.0, ("b", "d"): 0.5}


def test_closest_returns_the_requested_number_of_pairs_highest_first():
    assert [(pair.first, pair.second) for pair in closest(TEXTS, 2, chars=2)] == [("a", "d"), ("a", "b")]


@pytest.mark.parametrize(
    ("first", "second"), [("Why, oh why?", "why oh  WHY"), ("🐢🏁", "🐢🏁"), ("Potato.", "potato")]
)
def test_case_and_punctuation_are_ignored(first, second):
    assert shingles(first, chars=5) == shingles(second, chars=5)


def test_a_text_without_letters_or_digits_is_its_own_shingle():
    assert shingles(" ❓ ", chars=5) == {"❓"}


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.text("abc ", max_size=12), max_size=6))
def test_pairs_equal_those_of_a_comparison_of_all_with_all(texts):
    sets = {id_: shingles(text, chars=3) for id_, text in texts.items()}
    expected = {(a, b): len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in combinations(sets, 2)}
    indexes = {(pair.first, pair.second): pair.jaccard for pair in pairs(texts, chars=3)}
    assert indexes == {pair: share for pair, share in expected.items() if share > 0}


TEXT_BY_ID = st.dictionaries(st.text("pqr", min_size=1, max_size=3), st.text("abc ", max_size=12), max_size=6)


@given(TEXT_BY_ID, TEXT_BY_ID, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_near_duplicates_equal_those_of_a_comparison_of_all_with_all(texts, others, threshold):
    sets, other_sets = ([shingles(text, chars=3) for text in group.values()] for group in (texts, others))
    best = [max((len(a & b) / len(a | b) for b in other_sets), default=0.0) for a in sets]
    duplicates = near_duplicates(texts, others, chars=3, min_jaccard=threshold)
    expected = {id_: index for id_, index in zip(texts, best, strict=True) if index >= threshold}
    assert {id_: pair.jaccard for id_, pair in duplicates.items()} == expected
