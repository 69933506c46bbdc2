import pytest

from lima.text import spelling

WRONG = {"recieve": "receive", "ser": "set"}


def found(text: str, *allowed: str) -> list[tuple[str, str]]:
    return list(spelling.faults(text, WRONG, allowed=allowed))


def test_a_common_mistake_is_told_with_what_was_meant():
    assert found("You will Recieve it.") == [("Recieve", "receive")]


@pytest.mark.parametrize("text", ["`recieve`", "```\nrecieve\n```", "recieved_at", "a 3ser", "Xylothek, Okafor, döner"])
def test_code_parts_of_words_and_words_that_no_list_knows_are_no_mistakes(text):
    assert found(text) == []


def test_an_allowed_word_is_right_all_the_same():
    assert found("ser y estar", "ser") == []


def test_small_words_that_come_twice_are_told_but_not_others():
    assert found("It is in the the box.") == [("the the", "the")]
    assert found("He had had it; that that is, is.") == []


def test_the_list_is_that_of_codespell():
    assert len(spelling.mistakes()) > 50_000
    assert spelling.mistakes()["recieve"] == "receive"
