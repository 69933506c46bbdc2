"""Responses without content: empty, repetition, not language."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.evaluation.gibberish import gibberish


def letters(seed: int, number: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz    ") for _ in range(number))


@pytest.mark.parametrize("text", ["", "  \n", "...", "\u200b", "|  |  |", "---\n***"])
def test_a_response_without_letters_digits_or_pictographs_is_empty(text):
    assert gibberish(text) == "empty"


@pytest.mark.parametrize("text", ["the the " * 50, "a, b, c, " * 40, "najka" * 60, "I am. " * 50])
def test_a_response_that_only_repeats_a_few_words_is_repetition(text):
    assert gibberish(text) == "repetition"


def test_a_loop_after_an_answer_is_an_answer():
    # 40 distinct words, so more than 12 distinct 4-grams
    beginning = " ".join(f"word{number}" for number in range(40))
    assert gibberish(beginning + " so" * 400) != "repetition"


@pytest.mark.parametrize(
    "text",
    [
        "processor emph psyche nuclei Deputy Boydfine placed terranean ting Overcoming Tik Bangla desexists Davis",
        "Lund hymns Eis annexation disadvant uncommonHold orthembeddings pipelines armpron inexperiencedrief aff pin",
        letters(1, 300),
        letters(2, 600),
    ],
)
def test_random_tokens_and_letters_are_not_language(text):
    assert gibberish(text) == "not language"


CONTENT = [
    "42",
    "🐢",
    "Yes.",
    "Olivia, Sophia, Amelia, Ava, Grace, Mia, Isabella, Aria, Emma, Riley, Charlotte, Layla, Zoe, Nora, Hazel",
    "1. Convolutional networks (CNNs)\n2. Recurrent networks (RNNs)\n3. Long short-term memory (LSTMs)",
    "| Name | Age |\n|---|---|\n| Ada | 36 |\n| Tom | 41 |",
    "```python\nfor number in range(10):\n    print(number)\n```",
    "def timesTwo(n: Int): Int = n * n\nval numList = List(1, 2, 3)\nval result = numList.map(timesTwo)",
    "night,object,seeing\n2025-01-03,M42,4\n2025-01-04,M81,2\n2025-01-05,Mars,5",
    "Der Himmel erscheint blau, weil kurzwelliges Licht stärker gestreut wird als langwelliges Licht der Sonne.",
    "Caelum interdiu caeruleum est, quia lux solis in aere spargitur, et caerulea pars lucis maxime spargitur.",
    "Il cielo appare azzurro perché la luce del sole viene diffusa dalle molecole presenti nella nostra atmosfera.",
    "天空是蓝色的，因为空气散射阳光中的蓝光。",
    "I can't help with that.",
    "Long after the last train has gone,\na window keeps its yellow square.",
]


@pytest.mark.parametrize("text", CONTENT)
def test_names_lists_code_tables_and_other_languages_are_content(text):
    assert gibberish(text) is None


@given(st.text())
def test_no_text_raises(text):
    assert gibberish(text) in (None, "empty", "repetition", "not language")


def test_a_long_text_is_read_to_a_limit():
    assert gibberish("x" * 10_000_000) == "repetition"
