"""Twelve prescribed forms, each with an answer that keeps it and answers that nearly do."""

import json
from pathlib import Path

import pytest
from constraint_answers import GOOD, NEARLY
from hypothesis import given
from hypothesis import strategies as st

from lima.evaluation import constraints
from lima.records import Prompt, Provenance, Turn

ROOT = Path(__file__).parents[2]
ORIGIN = Provenance(source="x", site="x", id="1", url="", author="", licence="", digest="")


def test_every_form_has_a_rule_a_good_answer_and_nearly_good_ones():
    assert set(GOOD) == set(constraints.CONSTRAINTS) == {form for form, *_ in NEARLY}


def test_the_rules_are_those_of_the_shipped_prompts():
    rows = [json.loads(line) for line in (ROOT / "corpus/authored/group_b_test.jsonl").read_text("utf-8").splitlines()]
    assert {row["note"].removeprefix("keeps:") for row in rows if row["kind"] == "form"} == set(constraints.CONSTRAINTS)


@pytest.mark.parametrize("form", GOOD)
def test_a_good_answer_keeps_its_form_and_no_other(form):
    assert {name for name in constraints.CONSTRAINTS if constraints.violation(name, GOOD[form]) is None} == {form}


@pytest.mark.parametrize(("form", "before", "after", "says"), NEARLY)
def test_a_nearly_good_answer_is_told_by_what_breaks_it(form, before, after, says):
    assert GOOD[form].count(before) == 1
    found = constraints.violation(form, GOOD[form].replace(before, after))
    assert found is not None
    assert found.startswith(says)


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_line_less_or_a_line_twice_breaks_every_form(form, data):
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
def test_any_text_is_judged_and_none_makes_a_rule_fail(form, text, start):
    told = constraints.violation(form, start + text)
    assert told is None or told


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
def test_hostile_answers_break_the_form_and_not_the_rule(text):
    assert all(constraints.violation(form, text) for form in constraints.CONSTRAINTS)


@pytest.mark.parametrize("form", constraints.CONSTRAINTS)
def test_a_fault_is_short_however_long_the_answer_that_it_quotes(form):
    found = constraints.violation(form, "a word, " * 1000)
    assert found
    assert len(found) <= constraints.SHOWN + 1


@pytest.mark.parametrize("form", sorted(set(GOOD) - {"fifty-words", "yaml", "csv"}))
def test_space_around_lines_breaks_no_form_that_is_written_in_lines(form):
    assert constraints.violation(form, "\n" + GOOD[form].replace("\n", "  \n\n") + "\n\n") is None


def test_emphasis_breaks_no_form_but_the_one_that_asks_for_it():
    assert constraints.violation("speakers", GOOD["speakers"].replace("FOG:", "**FOG:**")) is None
    assert constraints.violation("table", GOOD["table"].replace("Myth", "**Myth**")) is None
    assert constraints.violation("glossary", GOOD["glossary"].replace("**cue**", "cue")) is not None


def test_a_file_may_come_in_a_code_block():
    assert constraints.violation("csv", f"```csv\n{GOOD['csv']}\n```") is None


def test_a_word_is_what_stands_between_spaces_or_dashes():
    assert (
        constraints.violation("fifty-words", "upside-down – so, 2 of 3! " * 10) is None
    )  # 5 a time: the hyphen parts none
    assert constraints.violation("fifty-words", "word—word " * 25) is None


def test_the_prompts_tag_names_the_form():
    turns = (Turn(role="user", content="?"),)
    tagged = Prompt(id="1", messages=turns, tags=("kind:form", "keeps:haiku"), provenance=ORIGIN)
    assert constraints.constraint_of(tagged) == "haiku"
    assert constraints.constraint_of(tagged.model_copy(update={"tags": ("kind:list",)})) is None


def test_a_form_without_a_rule_is_told():
    with pytest.raises(ValueError, match="no rule reads the form 'ode'; there are haiku, acrostic"):
        constraints.violation("ode", "O nightingale")
