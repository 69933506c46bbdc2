from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.text.shingles import closest, near_duplicates, pairs, shingles

TEXTS = {"a": "abcd", "b": "bcde", "c": "xyz", "d": "abcd!"}


def test_the_index_is_of_what_is_common_over_all_that_there_is():
    # chars 2: {ab, bc, cd}, {bc, cd, de}, {xy, yz}, {ab, bc, cd}: a–b and b–d 2 of 4, a–d 3 of 3, c shares nothing
    found = {(pair.first, pair.second): pair.jaccard for pair in pairs(TEXTS, chars=2)}
    assert found == {("a", "b"): 0.5, ("a", "d"): 1.0, ("b", "d"): 0.5}


def test_the_closest_come_first_and_no_more_than_are_asked_for():
    assert [(pair.first, pair.second) for pair in closest(TEXTS, 2, chars=2)] == [("a", "d"), ("a", "b")]


@pytest.mark.parametrize(("one", "other"), [("Why, oh why?", "why oh  WHY"), ("🐢🏁", "🐢🏁"), ("Potato.", "potato")])
def test_case_and_punctuation_make_no_difference(one, other):
    assert shingles(one, chars=5) == shingles(other, chars=5)


def test_a_text_of_signs_alone_is_itself():
    assert shingles(" ❓ ", chars=5) == {"❓"}


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.text("abc ", max_size=12), max_size=6))
def test_every_pair_is_found_that_comparing_all_with_all_finds(texts):
    sets = {id_: shingles(text, chars=3) for id_, text in texts.items()}
    expected = {(a, b): len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in combinations(sets, 2)}
    found = {(pair.first, pair.second): pair.jaccard for pair in pairs(texts, chars=3)}
    assert found == {pair: share for pair, share in expected.items() if share > 0}


texts = st.dictionaries(st.text("pqr", min_size=1, max_size=3), st.text("abc ", max_size=12), max_size=6)


@given(texts, texts, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_twins_are_all_that_comparing_all_with_all_finds_each_with_its_closest(mine, theirs, least):
    ours, others = ({id_: shingles(text, chars=3) for id_, text in of.items()} for of in (mine, theirs))
    best = {one: max((len(a & b) / len(a | b) for b in others.values()), default=0.0) for one, a in ours.items()}
    found = {one: pair.jaccard for one, pair in near_duplicates(mine, theirs, chars=3, min_jaccard=least).items()}
    assert found == {one: share for one, share in best.items() if share >= least}
