import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.evaluation import diversity
from lima.text import tfidf

SETTINGS = {"chars": (3, 5), "max_distance": 0.9, "draws": 3, "seed": 17}
MONOTONE = [f"How do I bake bread with {number} grams of flour?" for number in range(12)]
VARIED = [
    *("How do I bake bread?", "Explain black holes.", "Write a sonnet about rain.", "Which laptop suits a painter?"),
    *("Why do cats purr?", "Plan a weekend in Bergen.", "Is lying ever right?", "Sort a list in Rust."),
    *("What moves the tides?", "Name five board games.", "Translate this menu.", "My neighbour snores."),
]


def test_distinct_n_counts_within_the_given_words_and_does_not_cross_texts():
    texts = ["a b a", "a b c d"]
    # 1: a b a a b, the first five words: 2 of 5; 2: ab ba | ab: 2 of 3
    assert diversity.distinct(texts, 1, 5) == 2 / 5
    assert diversity.distinct(texts, 2, 5) == 2 / 3
    assert diversity.distinct([], 1, 5) == 0


@given(st.lists(st.text("ab c", max_size=8), max_size=5), st.integers(1, 3), st.integers(0, 12))
def test_distinct_n_is_between_0_and_1(texts, n, size):
    assert 0 <= diversity.distinct(texts, n, size) <= 1


def test_a_varied_set_is_more_diverse_than_a_monotone_one_by_every_measure():
    _, measures = diversity.compare({"varied": VARIED, "monotone": MONOTONE}, **SETTINGS)
    varied, monotone = measures["varied"], measures["monotone"]
    assert all(a > b for a, b in zip(varied.distinct, monotone.distinct, strict=True))
    assert varied.nearest < monotone.nearest
    assert varied.clusters > monotone.clusters


def test_sets_are_compared_at_the_size_of_the_smallest():
    size, measures = diversity.compare({"few": VARIED[:6], "many": VARIED}, **SETTINGS)
    assert size.prompts == 6
    assert size.words == sum(len(diversity.words(text)) for text in VARIED[:6])
    assert measures["many"].clusters <= 6
    assert measures["many"].prompts == 12


def test_equal_texts_are_one_cluster_and_texts_without_common_words_are_separate():
    space = tfidf.subjects(VARIED)

    def clusters(*texts: str) -> int:
        return diversity.clusters(space.cosine(texts, texts), max_distance=0.9)

    assert clusters(*[VARIED[0]] * 3) == 1
    assert clusters(VARIED[1], VARIED[4], VARIED[5]) == 3
    assert clusters(VARIED[0]) == 1


@pytest.mark.parametrize("name", ["varied", "monotone"])
def test_a_measure_depends_on_the_seed_and_not_on_the_order_of_the_sets(name):
    sets = {"varied": VARIED, "monotone": MONOTONE}
    first = diversity.compare(sets, **SETTINGS)[1][name]
    second = diversity.compare(dict(reversed(sets.items())), **SETTINGS)[1][name]
    assert first.distinct == second.distinct
    assert first.nearest == pytest.approx(second.nearest)
