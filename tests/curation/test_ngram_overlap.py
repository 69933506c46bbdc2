from hypothesis import given
from hypothesis import strategies as st

from lima.config.sections import Contamination
from lima.curation.decontamination import NgramIndex, Passage, SharedNgrams, passages
from lima.records import Example, Provenance, Turn

P = Contamination(words=5, least_words=3)


def example(answer: str, prompt: str = "Well?") -> Example:
    place = Provenance(source="s", site="t", id="1", url="", author="", license="MIT", digest="")
    turns = (Turn(role="user", content=prompt), Turn(role="assistant", content=answer))
    return Example(id="s/t/1", messages=turns, tags=(), provenance=place)


def shared(tested: str, answer: str, prompt: str = "Well?") -> SharedNgrams | None:
    return NgramIndex([Passage("tests.jsonl:7", tested)], settings=P).shared(example(answer, prompt))


def test_run_of_n_words_is_an_overlap_and_a_shorter_run_is_not():
    assert shared("a b c d e f", "x a b c d e y") == SharedNgrams("tests.jsonl:7", "a b c d e")
    assert shared("a b c d e f", "x a b c d y e f") is None


def test_overlap_is_the_longest_run_with_its_location():
    overlap = shared("p q r s t u v w", "So: Q, r; S t. U V! w x", prompt="Hm?")
    assert overlap == SharedNgrams("tests.jsonl:7", "q r s t u v w")
    assert str(overlap) == "7 words of tests.jsonl:7: 'q r s t u v w'"


def test_long_overlap_is_abbreviated():
    words = " ".join(f"w{n}" for n in range(60))
    assert str(shared(words, words)) == (
        f"60 words of tests.jsonl:7: '{' '.join(words.split()[:30])} … {' '.join(words.split()[50:])}'"
    )


def test_shorter_test_text_matches_as_a_whole():
    assert shared("why so blue", "They ask: why so blue, sea?") == SharedNgrams("tests.jsonl:7", "why so blue")
    assert shared("why so blue", "They ask why so, blue sea?") == SharedNgrams("tests.jsonl:7", "why so blue")
    assert shared("why so blue", "Why is it so blue?") is None


def test_very_short_test_text_matches_only_a_whole_prompt():
    assert shared("what else?", "And what else is there?") is None
    assert shared("what else?", "Nothing.", prompt="What else") == SharedNgrams("tests.jsonl:7", "what else")
    assert shared("four", "Four", prompt="What is 2 + 2?") is None


def test_overlap_is_within_one_turn_of_either_role():
    assert shared("a b c d e", "yes", prompt="a b c d e")
    assert shared("a b c d e", "d e", prompt="a b c") is None


def test_example_overlaps_with_itself_and_passages_are_its_turns():
    record = example("a b c d e f g", prompt="how do they do it")
    assert [passage.text for passage in passages([record])] == ["how do they do it", "a b c d e f g"]
    assert NgramIndex(passages([record]), settings=P).shared(record).place == "s/t/1"


WORDS = st.lists(st.sampled_from("abc"), max_size=14)


@given(WORDS, WORDS)
def test_overlap_exists_exactly_if_both_texts_contain_a_run(tested, trained):
    # only texts of at least five words, for which the rule is this simple
    overlap = shared(" ".join(["x"] * 5 + tested), " ".join([*trained, "y"]))
    runs = [tested[at : at + 5] for at in range(len(tested) - 4)]
    expected = any(trained[at : at + 5] in runs for at in range(len(trained) - 4))
    assert (overlap is not None) == expected
    if overlap:
        words = overlap.span.split()
        assert overlap.span in " ".join(trained)
        assert all(words[at : at + 5] in runs for at in range(len(words) - 4))
