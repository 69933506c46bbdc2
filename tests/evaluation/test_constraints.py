"""Twelve constraints, each with an answer that satisfies it and near misses."""

import json
from pathlib import Path

import pytest
from constraint_answers import GOOD, NEARLY
from hypothesis import given
from hypothesis import strategies as st

from lima.evaluation import constraints
from lima.records import Prompt, Provenance, Turn

ROOT = Path(__file__).parents[2]
ORIGIN = Provenance(source="x", site="x", id="1", url="", author="", license="", digest="")


def test_every_constraint_has_a_good_answer_and_near_misses():
    assert set(GOOD) == set(constraints.CONSTRAINTS) == {form for form, *_ in NEARLY}


def test_the_constraints_are_those_of_the_shipped_prompts():
    rows = [json.loads(line) for line in (ROOT / "corpus/authored/group_b_test.jsonl").read_text("utf-8").splitlines()]
    assert {row["note"].removeprefix("keeps:") for row in rows if row["kind"] == "form"} == set(constraints.CONSTRAINTS)


@pytest.mark.parametrize("form", GOOD)
def test_a_good_answer_satisfies_its_own_constraint_only(form):
    assert {name for name in constraints.CONSTRAINTS if constraints.violation(name, GOOD[form]) is None} == {form}


@pytest.mark.parametrize(("form", "before", "after", "message"), NEARLY)
def test_a_near_miss_returns_its_violation(form, before, after, message):
    assert GOOD[form].count(before) == 1
    fault = constraints.violation(form, GOOD[form].replace(before, after))
    assert fault is not None
    assert fault.startswith(message)


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_missing_or_repeated_line_violates_every_constraint(form, data):
    lines = GOOD[form].splitlines()
    place = data.draw(st.sampled_from([number for number, line in enumerate(lines) if line.strip()]))
    less = [*lines[:place], *lines[place + 1 :]]
    twice = [*lines[:place], lines[place], *lines[place:]]
    assert constraints.violation(form, "\n".join(less)) is not None
    assert constraints.violation(form, "\n".join(twice)) is not None


@given(
    st.sampled_from(sorted(constraints.CONSTRAINTS)),
    st.text(),
    st.sampled_from(["", "```yaml\n", "1. ", "- [x] ", "1900 - "]),
)
def test_no_text_raises(form, text, start):
    fault = constraints.violation(form, start + text)
    assert fault is None or fault


@pytest.mark.parametrize(
    "text",
    [
        "```yaml\n" + "[" * 20000 + "\n```",
        "```yaml\n? [a]\n: 1\n```",
        '"' * 9999,
        "1" * 5000 + ". a",
        'night,"' + "x" * 140_000,
    ],
)
def test_hostile_answers_are_violations_and_do_not_raise(text):
    assert all(constraints.violation(form, text) for form in constraints.CONSTRAINTS)


@pytest.mark.parametrize("form", constraints.CONSTRAINTS)
def test_a_violation_is_short_even_if_it_quotes_a_long_answer(form):
    fault = constraints.violation(form, "a word, " * 1000)
    assert fault
    assert len(fault) <= constraints.SHOWN + 1


@pytest.mark.parametrize("form", sorted(set(GOOD) - {"fifty-words", "yaml", "csv"}))
def test_space_around_lines_is_ignored(form):
    assert constraints.violation(form, "\n" + GOOD[form].replace("\n", "  \n\n") + "\n\n") is None


def test_emphasis_is_ignored_unless_it_is_part_of_the_constraint():
    assert constraints.violation("speakers", GOOD["speakers"].replace("FOG:", "**FOG:**")) is None
    assert constraints.violation("table", GOOD["table"].replace("Myth", "**Myth**")) is None
    assert constraints.violation("glossary", GOOD["glossary"].replace("**cue**", "cue")) is not None


def test_a_file_may_be_in_a_code_block():
    assert constraints.violation("csv", f"```csv\n{GOOD['csv']}\n```") is None


def test_words_are_separated_by_spaces_or_dashes():
    assert (
        constraints.violation("fifty-words", "upside-down – so, 2 of 3! " * 10) is None
    )  # 5 words, repeated 10 times: a hyphen does not separate words
    assert constraints.violation("fifty-words", "word—word " * 25) is None


def test_the_constraint_is_read_from_the_tags_of_the_prompt():
    turns = (Turn(role="user", content="?"),)
    tagged = Prompt(id="1", messages=turns, tags=("kind:form", "keeps:haiku"), provenance=ORIGIN)
    assert constraints.constraint_of(tagged) == "haiku"
    assert constraints.constraint_of(tagged.model_copy(update={"tags": ("kind:list",)})) is None


def test_an_unknown_constraint_raises():
    with pytest.raises(ValueError, match=r"unknown constraint: 'ode'; .* has haiku, acrostic"):
        constraints.violation("ode", "O nightingale")
