"""The fast normalization equals the definition, character by character."""

import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lima.records import Prompt, Provenance, Turn
from lima.text.normalize import TurnWords, normalize

ROLES = ("user", "assistant")
PLACE = Provenance(source="s", site="t", id="1", url="", author="", license="MIT", digest="")


def reference(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(char if char.isalnum() else " " for char in folded).split()
    return " ".join(words) or " ".join(folded.split())


def record(*texts: str) -> Prompt:
    turns = tuple(Turn(role=ROLES[number % 2], content=text) for number, text in enumerate(texts))
    return Prompt(id="s/t/1", messages=turns, tags=(), provenance=PLACE)


@settings(max_examples=50)
@given(st.text(max_size=30) | st.text(" aB1_.\x1f", max_size=30))
@example("It’s _snake_case_, ½ ﬁne, İstanbul, STRASSE/straße, ΣΊΣΥΦΟΣ, x² + ①, नमस्ते, e\u0301, \ud800")
@example(" \x1c…\u2003?!\n")
def test_fast_normalization_equals_the_definition(text):
    assert normalize(text) == reference(text)


def test_every_character_is_normalized_as_defined():
    for first in range(0, sys.maxunicode + 1, 4096):
        text = " ".join(f"a{chr(code)}B" for code in range(first, first + 4096))
        assert normalize(text) == reference(text), hex(first)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=5) | st.text("ab \n…\u0301İﬁ½", max_size=5), min_size=1, max_size=4))
@pytest.mark.parametrize("roles", [ROLES, ("user",)])
def test_words_of_joined_turns_are_those_of_the_joined_text(roles, texts):
    joined = "\n".join(text for number, text in enumerate(texts) if ROLES[number % 2] in roles)
    assert TurnWords.joined(TurnWords.of_record(record(*texts)), roles) == reference(joined).split()
