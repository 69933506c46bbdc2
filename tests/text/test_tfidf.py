import pytest

from lima.text import tfidf

TRAINED = ["How do I bake bread at home?", "How do I repair a bicycle chain?"]
ALIKE = ["How do I bake a cake at home?", "How do I repair a bicycle?"]
FAR = ["-.-. --- ..-", "XQZ 42"]


@pytest.fixture(scope="module")
def space():
    return tfidf.wording([*TRAINED, *ALIKE, *FAR], chars=(3, 5))


def test_similarity_is_1_for_equal_texts_and_0_without_a_common_ngram(space):
    similarities = space.cosine(TRAINED, [TRAINED[0], "XQZ 42"])
    assert similarities[0, 0] == pytest.approx(1)
    assert similarities[:, 1].tolist() == [0, 0]


def test_a_text_is_not_its_own_neighbour(space):
    with_repetition = [*TRAINED, TRAINED[0]]
    once, twice = (tfidf.to_others(space.cosine(texts, texts)) for texts in (TRAINED, with_repetition))
    assert 0 < once.max() < 0.9
    assert twice[[0, 2]] == pytest.approx([1, 1])


def test_prompts_unlike_the_training_prompts_are_farther_than_similar_ones(space):
    distance = tfidf.distance(space, FAR, ALIKE, TRAINED)
    assert distance.mean < distance.others
    assert distance.farther == 1  # both are less similar than both others: 4 of 4 pairs


def test_a_set_has_no_distance_from_itself(space):
    # 4 pairs: 2 ties, which count ½, and one pair each way: (2 · ½ + 1) / 4
    assert tfidf.distance(space, ALIKE, ALIKE, TRAINED).farther == 0.5


def test_subjects_ignore_stop_words():
    space = tfidf.subjects(["what is the bread", "what is the bicycle"])
    assert space.cosine(["what is the bread"], ["what is the bicycle"])[0, 0] == 0
