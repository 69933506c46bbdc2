from hypothesis import given
from hypothesis import strategies as st

from lima.config.sections import Contamination
from lima.curation.decontamination import NgramIndex, Passage, SharedNgrams, passages
from lima.records import Example, Provenance, Turn

P = Contamination(words=5, least_words=3)


def example(answer: str, asked: str = "Well?") -> Example:
    place = Provenance(source="s", site="t", id="1", url="", author="", licence="MIT", digest="")
    turns = (Turn(role="user", content=asked), Turn(role="assistant", content=answer))
    return Example(id="s/t/1", messages=turns, tags=(), provenance=place)


def shared(tested: str, answer: str, asked: str = "Well?") -> SharedNgrams | None:
    return NgramIndex([Passage("tests.jsonl:7", tested)], p=P).shared(example(answer, asked))


def test_a_run_of_so_many_words_is_an_overlap_and_one_less_is_none():
    assert shared("a b c d e f", "x a b c d e y") == SharedNgrams("tests.jsonl:7", "a b c d e")
    assert shared("a b c d e f", "x a b c d y e f") is None


def test_the_longest_run_around_the_first_find_is_told_with_its_place():
    found = shared("p q r s t u v w", "So: Q, r; S t. U V! w x", asked="Hm?")
    assert found == SharedNgrams("tests.jsonl:7", "q r s t u v w")
    assert str(found) == "7 words of tests.jsonl:7: 'q r s t u v w'"


def test_a_long_run_is_shown_by_its_ends():
    words = " ".join(f"w{n}" for n in range(60))
    assert str(shared(words, words)) == (
        f"60 words of tests.jsonl:7: '{' '.join(words.split()[:30])} … {' '.join(words.split()[50:])}'"
    )


def test_a_shorter_test_text_counts_whole():
    assert shared("why so blue", "They ask: why so blue, sea?") == SharedNgrams("tests.jsonl:7", "why so blue")
    assert shared("why so blue", "They ask why so, blue sea?") == SharedNgrams("tests.jsonl:7", "why so blue")
    assert shared("why so blue", "Why is it so blue?") is None


def test_one_of_very_few_words_counts_only_where_it_is_all_that_is_asked():
    assert shared("what else?", "And what else is there?") is None
    assert shared("what else?", "Nothing.", asked="What else") == SharedNgrams("tests.jsonl:7", "what else")
    assert shared("four", "Four", asked="What is 2 + 2?") is None


def test_both_turns_are_looked_at_and_no_run_goes_from_one_into_the_next():
    assert shared("a b c d e", "yes", asked="a b c d e")
    assert shared("a b c d e", "d e", asked="a b c") is None


def test_an_example_overlaps_with_itself_and_the_passages_are_its_turns():
    one = example("a b c d e f g", asked="how do they do it")
    assert [passage.text for passage in passages([one])] == ["how do they do it", "a b c d e f g"]
    assert NgramIndex(passages([one]), p=P).shared(one).place == "s/t/1"


WORDS = st.lists(st.sampled_from("abc"), max_size=14)


@given(WORDS, WORDS)
def test_an_overlap_is_found_exactly_where_a_run_stands_in_both(tested, trained):
    # only texts of at least five words, for which the law is this short
    found = shared(" ".join(["x"] * 5 + tested), " ".join([*trained, "y"]))
    runs = [tested[at : at + 5] for at in range(len(tested) - 4)]
    there = any(trained[at : at + 5] in runs for at in range(len(trained) - 4))
    assert (found is not None) == there
    if found:
        words = found.span.split()
        assert found.span in " ".join(trained)
        assert all(words[at : at + 5] in runs for at in range(len(words) - 4))
