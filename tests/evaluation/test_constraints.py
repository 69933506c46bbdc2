"""Verifiable constraints: each kind, the shipped prompts, and hostile responses."""

import json
from pathlib import Path

import pytest
from constraint_answers import EDITS, GOOD, NEARLY
from constraint_examples import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lima.constraint_types import KINDS, Arguments, Constraint, Counted, kind
from lima.evaluation import constraints
from lima.evaluation.constraints import documents
from lima.records import Prompt, Provenance, Turn
from lima.sources import json_rows

ROOT = Path(__file__).parents[2]
ORIGIN = Provenance(source="x", site="x", id="1", url="", author="", license="", digest="")
SCHEMA: TypeAdapter[Arguments] = TypeAdapter(Constraint)


def constraint(arguments: dict) -> Arguments:
    return SCHEMA.validate_json(json.dumps(arguments))


def prompt(*listed: dict) -> Prompt:
    turns = (Turn(role="user", content="?"),)
    return Prompt(id="1", messages=turns, tags=(), provenance=ORIGIN, constraints=tuple(map(constraint, listed)))


def shipped() -> dict[str, Prompt]:
    lines = (ROOT / "corpus/authored/group_b_test.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "form"]
    return {row["id"].removeprefix("b-form-"): prompt(*row["constraints"]) for row in rows}


FORMS = shipped()
EVERY = [constraint(arguments) for arguments, *_ in EXAMPLES]


# --- kinds -----------------------------------------------------------------------------------------------------------


def test_every_kind_has_a_rule_and_examples():
    assert set(constraints.RULES) == set(KINDS) == {type(arguments) for arguments in EVERY}


@pytest.mark.parametrize(
    ("arguments", "answer"), [(arguments, answer) for arguments, satisfied, _ in EXAMPLES for answer in satisfied]
)
def test_an_example_satisfies_its_constraint(arguments, answer):
    assert constraints.violation(constraint(arguments), answer) is None


@pytest.mark.parametrize(
    ("arguments", "answer", "message"),
    [(arguments, answer, message) for arguments, _, violated in EXAMPLES for answer, message in violated],
)
def test_a_counterexample_returns_its_violation(arguments, answer, message):
    fault = constraints.violation(constraint(arguments), answer)
    assert fault
    assert fault.startswith(message)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_range_includes_its_bounds(number, low, high):
    text = "word " * number
    assert (constraints.violation(constraint({"constraint": "words", "count": low}), text) is None) == (number == low)
    if low <= high:
        ranged = constraint({"constraint": "words", "min": low, "max": high})
        assert (constraints.violation(ranged, text) is None) == (low <= number <= high)


@pytest.mark.parametrize("arguments", EVERY)
def test_a_constraint_survives_writing_and_reading(arguments):
    assert SCHEMA.validate_json(SCHEMA.dump_json(arguments)) == arguments
    assert hash(arguments) == hash(SCHEMA.validate_json(SCHEMA.dump_json(arguments)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"constraint": "ode"}, "Input tag 'ode' found using 'constraint' does not match any of the expected tags"),
        ({"count": 3}, "Unable to extract tag using discriminator 'constraint'"),
        ({"constraint": "lines"}, "lines: Value error, set either count, or min, max or both"),
        ({"constraint": "lines", "count": 1, "max": 2}, "lines: Value error, set either count"),
        ({"constraint": "lines", "min": 3, "max": 2}, "lines: Value error, min 3 is above max 2"),
        ({"constraint": "lines", "count": "3"}, "lines.count: Input should be a valid integer, not '3'"),
        (
            {"constraint": "lines", "count": 3, "colour": "red"},
            "lines.colour: Extra inputs are not permitted, not 'red'",
        ),
        ({"constraint": "line_pattern", "pattern": "(a"}, "line_pattern.pattern: Value error, not an RE2 regular expr"),
        ({"constraint": "line_pattern", "pattern": "(a)\\1"}, "line_pattern.pattern: Value error, not an RE2"),
        ({"constraint": "yaml", "types": {"days": "nmber"}}, "yaml.types.0.1: Input should be 'string', 'number'"),
        ({"constraint": "csv_column", "column": "d", "type": "date", "min": 1}, "csv_column: Value error, min and max"),
    ],
)
def test_wrong_arguments_are_named_by_their_key(arguments, message):
    with pytest.raises(ValidationError) as raised:
        constraint(arguments)
    assert json_rows.reason(raised.value).startswith(message)


# --- prompts ---------------------------------------------------------------------------------------------------------


def test_a_prompt_is_kept_only_if_all_its_constraints_are():
    two = prompt({"constraint": "lines", "count": 2}, {"constraint": "casing", "casing": "lower"})
    assert constraints.violations(two, "a\nb") == (None, None)
    assert constraints.first_violation(two, "a\nb") is None
    assert constraints.violations(two, "a\nB") == (None, "'B' is not in lower case")
    assert constraints.first_violation(two, "A") == "1 lines, not 2"
    assert constraints.violations(prompt(), "anything") == ()


def test_a_prompt_without_the_field_is_valid_and_has_no_constraints():
    row = json.loads(prompt({"constraint": "quoted"}).model_dump_json())
    del row["constraints"]
    assert Prompt.model_validate_json(json.dumps(row)).constraints == ()


@pytest.mark.parametrize("form", GOOD)
def test_a_good_answer_keeps_the_prompt_of_its_form_only(form):
    assert {name for name, asked in FORMS.items() if constraints.first_violation(asked, GOOD[form]) is None} == {form}


@pytest.mark.parametrize(("form", "before", "after", "message"), NEARLY)
def test_a_near_miss_returns_its_violation(form, before, after, message):
    assert GOOD[form].count(before) == 1
    fault = constraints.first_violation(FORMS[form], GOOD[form].replace(before, after))
    assert fault is not None
    assert fault.startswith(message)


@pytest.mark.parametrize(("form", "before", "after", "kept"), EDITS)
def test_an_edited_answer_has_the_verdict_of_the_table(form, before, after, kept):
    assert GOOD[form].count(before) == 1
    assert (constraints.first_violation(FORMS[form], GOOD[form].replace(before, after)) is None) == kept


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_missing_or_repeated_line_violates_every_form(form, data):
    lines = GOOD[form].splitlines()
    place = data.draw(st.sampled_from([number for number, line in enumerate(lines) if line.strip()]))
    less = [*lines[:place], *lines[place + 1 :]]
    twice = [*lines[:place], lines[place], *lines[place:]]
    assert constraints.first_violation(FORMS[form], "\n".join(less)) is not None
    assert constraints.first_violation(FORMS[form], "\n".join(twice)) is not None


@pytest.mark.parametrize("form", sorted(set(GOOD) - {"fifty-words", "yaml", "csv"}))
def test_space_around_lines_is_ignored(form):
    assert constraints.first_violation(FORMS[form], "\n" + GOOD[form].replace("\n", "  \n\n") + "\n\n") is None


def test_emphasis_is_ignored_unless_it_is_part_of_the_constraint():
    assert constraints.first_violation(FORMS["speakers"], GOOD["speakers"].replace("FOG:", "**FOG:**")) is None
    assert constraints.first_violation(FORMS["table"], GOOD["table"].replace("Myth", "**Myth**")) is None
    assert constraints.first_violation(FORMS["glossary"], GOOD["glossary"].replace("**cue**", "cue")) is not None


# --- hostile responses -----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.text(), st.sampled_from(["", "```yaml\n", "1. ", "- [x] ", "1900 - ", "a,b\n", "|-|-|\n", "{"]))
def test_no_text_raises(text, start):
    for arguments in EVERY:
        fault = constraints.violation(arguments, start + text)
        assert fault is None or (fault and len(fault) <= constraints.SHOWN + 1)


def bomb(levels: int, width: int) -> str:
    """Merged mappings, each with `width` references to the level below: width ** levels keys."""
    rows = ["k0: &a0 {x: 1}"]
    rows += [f"k{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * width)}]}}" for n in range(1, levels)]
    return "\n".join(rows)


HOSTILE = {
    "brackets": "[" * 20_000,
    "braces": "{" * 5_000 + "}" * 5_000,
    "complex key": "? [a]\n: 1",
    "aliases": bomb(9, 9),
    "anchors in lists": "a: &a [x]\nb: &b [*a,*a]\nc: [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]",
    "sequences": "- " * 9_000 + "x",
    "quotes": '"' * 9_999,
    "number": "1" * 5_000 + ". a",
    "long field": 'night,"' + "x" * 140_000,
    "one line": "a" * 1_000_000,
    "spaces": "." + " " * 999_990 + "x",
    "alternation": "X: " + "ab" * 400_000 + "!",
    "stars": "*" * 999_999,
    "open marks": "[a<<" * 200_000,
    "lines": "\n".join("a" * 2 for _ in range(30_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("fence", ["", "```yaml\n"])
def test_hostile_answers_violate_the_prescribed_forms(name, fence):
    answer = f"{fence}{HOSTILE[name]}" + ("\n```" if fence else "")
    assert all(constraints.first_violation(asked, answer) for asked in FORMS.values())


@pytest.mark.parametrize("arguments", EVERY)
def test_an_answer_above_the_limit_is_not_read(arguments):
    class Unread(str):
        """A text of 10 MB that fails if its content is used."""

        def __len__(self) -> int:
            return 10_000_000

        def strip(self, *_: object) -> str:
            raise AssertionError("the text was read")

    assert constraints.violation(arguments, Unread()) == "10000000 characters; at most 1000000 are checked"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "x" * documents.YAML_CHARS, "20003 characters, at most 20000 are read"),
        ("[" * 51, "more than 50 nested brackets"),
        (bomb(9, 9), "more than 10 aliases"),
    ],
)
def test_yaml_above_a_limit_is_not_parsed(text, message, monkeypatch):
    def parser(*_: object, **__: object) -> None:
        raise AssertionError("the text was parsed")

    monkeypatch.setattr("ruamel.yaml.YAML", parser)
    with pytest.raises(documents.Unreadable, match=message):
        documents.yaml_value(text)


def test_aliases_below_the_limit_multiply_a_file_by_less_than_a_hundred():
    # k levels of m references need k * m <= 10 aliases and give m ** k items: at most 3 ** 3 = 27
    assert max(width ** (documents.YAML_ALIASES // width) for width in range(1, documents.YAML_ALIASES + 1)) < 100
    assert documents.yaml_value(bomb(4, 3)) is not None


@pytest.mark.parametrize("arguments", [c for c in EVERY if constraints.violation(c, "a word, " * 1000)])
def test_a_violation_is_short_even_if_it_quotes_a_long_answer(arguments):
    fault = constraints.violation(arguments, "a word, " * 1000)
    assert fault
    assert len(fault) <= constraints.SHOWN + 1


# --- documentation ---------------------------------------------------------------------------------------------------


def table_row(model: type[Arguments]) -> str:
    """A row of the table in docs/evaluation.md."""
    number = ("count", "min", "max") if issubclass(model, Counted) else ()
    fields = {name: field for name, field in model.model_fields.items() if name not in ("constraint", *number)}
    shown = [f"`{name}`" if field.is_required() else f"[`{name}`]" for name, field in fields.items()]
    arguments = ", ".join([*shown, *(["number"] if number else [])])
    return f"| `{kind(model)}` | {arguments or '–'} | {' '.join((model.__doc__ or '').split())} |"


@pytest.mark.parametrize("model", KINDS, ids=kind)
def test_the_documentation_lists_every_kind_with_its_arguments(model):
    assert table_row(model) in (ROOT / "docs/evaluation.md").read_text("utf-8").splitlines()
