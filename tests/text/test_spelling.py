import pytest

from lima.text import spelling

WRONG = {"recieve": "receive", "ser": "set"}


def faults(text: str, *allowed: str) -> list[tuple[str, str]]:
    return list(spelling.faults(text, WRONG, allowed=allowed))


def test_a_common_misspelling_is_reported_with_its_correction():
    assert faults("You will Recieve it.") == [("Recieve", "receive")]


@pytest.mark.parametrize("text", ["`recieve`", "```\nrecieve\n```", "recieved_at", "a 3ser", "Xylothek, Okafor, döner"])
def test_code_parts_of_words_and_unlisted_words_are_accepted(text):
    assert faults(text) == []


def test_an_allowed_word_is_accepted():
    assert faults("ser y estar", "ser") == []


def test_only_repeated_function_words_are_reported():
    assert faults("It is in the the box.") == [("the the", "the")]
    assert faults("He had had it; that that is, is.") == []


def test_the_list_is_codespells():
    assert len(spelling.mistakes()) > 50_000
    assert spelling.mistakes()["recieve"] == "receive"
