import pytest

from lima.text import tfidf

TRAINED = ["How do I bake bread at home?", "How do I repair a bicycle chain?"]
ALIKE = ["How do I bake a cake at home?", "How do I repair a bicycle?"]
FAR = ["-.-. --- ..-", "XQZ 42"]


@pytest.fixture(scope="module")
def space():
    return tfidf.wording([*TRAINED, *ALIKE, *FAR], chars=(3, 5))


def test_equal_texts_are_1_alike_and_those_without_a_run_in_common_0(space):
    similar = space.cosine(TRAINED, [TRAINED[0], "XQZ 42"])
    assert similar[0, 0] == pytest.approx(1)
    assert similar[:, 1].tolist() == [0, 0]


def test_within_a_set_a_text_is_not_its_own_neighbour(space):
    twice_one = [*TRAINED, TRAINED[0]]
    once, twice = (tfidf.to_others(space.cosine(of, of)) for of in (TRAINED, twice_one))
    assert 0 < once.max() < 0.9
    assert twice[[0, 2]] == pytest.approx([1, 1])


def test_prompts_like_nothing_trained_are_farther_than_those_like_something(space):
    found = tfidf.distance(space, FAR, ALIKE, TRAINED)
    assert found.mean < found.others
    assert found.farther == 1  # each of two is less similar than each of two: 4 of 4


def test_a_set_is_no_farther_than_itself(space):
    # 4 pairs: two are ties, which count half, and of the other two one each way: (2 · ½ + 1) / 4
    assert tfidf.distance(space, ALIKE, ALIKE, TRAINED).farther == 0.5


def test_subjects_leave_out_the_commonest_words():
    space = tfidf.subjects(["what is the bread", "what is the bicycle"])
    assert space.cosine(["what is the bread"], ["what is the bicycle"])[0, 0] == 0
