import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Candidate, Dropped, Turn
from lima.sources.authored import reader
from lima.sources.base import DumpError, ReadStats, digest


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def line(**fields: object) -> str:
    row = {"id": "a-001", "group": "A", "topic": "tea", "kind": "explain", "sensitive": False, "note": ""}
    return json.dumps(row | {"messages": turns("Why is tea bitter?", "Tannins.")} | fields)


def read(dumps: Path) -> tuple[list[Candidate | Dropped], ReadStats]:
    tally = ReadStats()
    return list(reader.read(dumps, source="authored", license="MIT", tally=tally)), tally


def reads(folder: Path, *lines: str) -> tuple[list[Candidate | Dropped], ReadStats]:
    (folder / "group.jsonl").write_text("".join(text + "\n" for text in lines))
    return read(folder)


def test_an_example_is_a_candidate_with_its_group_topic_and_kind(tmp_path):
    (row,), tally = reads(tmp_path, line())
    assert isinstance(row, Candidate)
    assert (row.id, row.title, row.response) == ("authored/A/a-001", "Why is tea bitter?", "Tannins.")
    assert (row.tags, row.later_turns, row.markup) == (("topic:tea", "kind:explain"), (), "markdown")
    assert (row.provenance.site, row.provenance.author, row.provenance.license) == ("A", "group A", "MIT")
    assert row.provenance.digest == digest(line().encode())
    assert tally == ReadStats(rows=1, questions=1, answers=1)


def test_a_prompt_has_no_response_and_a_sensitive_one_says_so(tmp_path):
    (row,), tally = reads(tmp_path, line(group="B", sensitive=True, note="Refuse.", messages=turns("How do I …?")))
    assert (row.response, row.later_turns) == ("", ())
    assert row.tags == ("topic:tea", "kind:explain", "sensitive")
    assert tally == ReadStats(rows=1, questions=1, answers=0)


def test_the_intent_of_a_sensitive_prompt_becomes_a_tag(tmp_path):
    (row,), _ = reads(tmp_path, line(group="B", sensitive=True, note="implicit intent; warns", messages=turns("How?")))
    assert row.tags[-2:] == ("sensitive", "intent:implicit")


def test_constraints_travel_with_the_prompt(tmp_path):
    listed = [{"constraint": "table_rows", "count": 6}]
    (row,), _ = reads(tmp_path, line(group="B", constraints=listed, messages=turns("A table of six rows, please.")))
    assert [constraint.model_dump(exclude_none=True) for constraint in row.constraints] == listed


@pytest.mark.parametrize(("note", "tags"), [("format", ("format",)), ("dialogue", ("dialogue",)), ("form", ())])
def test_a_mark_travels_as_a_tag_and_another_note_does_not(tmp_path, note, tags):
    (row,), _ = reads(tmp_path, line(note=note))
    assert row.tags == ("topic:tea", "kind:explain", *tags)


def test_a_dialogue_keeps_its_later_turns_in_order(tmp_path):
    (row,), _ = reads(tmp_path, line(messages=turns("1", "2", "3", "4")))
    assert (row.title, row.response) == ("1", "2")
    assert row.later_turns == (Turn(role="user", content="3"), Turn(role="assistant", content="4"))


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (line()[:-9], "Invalid JSON: EOF"),
        ("", "Invalid JSON: EOF"),
        (line(group="C"), "group: Input should be 'A' or 'B', not 'C'"),
        (line(sensitive="no"), "sensitive: Input should be a valid boolean, not 'no'"),
        (line(id=""), "id: String should have at least 1 character"),
        (line(constraints=[{"constraint": "lines"}]), "constraints.0.lines: Value error, set either count, or min"),
        (line(constraints=[{"constraint": "ode"}]), "constraints.0: Input tag 'ode' found using 'constraint' does not"),
        (line(mood="good"), "mood: Extra inputs are not permitted, not 'good'"),
        (line(messages=[]), "messages: Tuple should have at least 1 item"),
        (line(messages=turns("", "x")), "Value error, message 1 has no text"),
        (line(messages=turns("x", "y")[1:]), "Value error, message 1 is the assistant's; it is the user's turn"),
        (line(group="B"), "Value error, group B writes test prompts, which end with the user"),
    ],
)
def test_a_line_that_breaks_the_schema_is_kept_with_its_place_and_the_rest_goes_on(tmp_path, text, detail):
    (good, bad, last), tally = reads(tmp_path, line(), text, line(id="a-002"))
    assert (good.title, last.provenance.id) == ("Why is tea bitter?", "a-002")
    assert (bad.reason, bad.place, bad.raw) == ("bad_row", f"{tmp_path}/group.jsonl:2", text)
    assert bad.detail.startswith(detail)
    assert tally == ReadStats(rows=3, questions=2, answers=2)


def test_an_id_that_stands_twice_is_a_bad_row_in_whatever_file(tmp_path):
    (tmp_path / "earlier.jsonl").write_text(line())
    (_, bad), _ = reads(tmp_path, line(topic="coffee"))
    assert bad.detail == f"id: a-001 occurs already at {tmp_path}/earlier.jsonl:1; ids are unique"


def test_an_empty_file_is_an_error(tmp_path):
    with pytest.raises(DumpError, match=r"group\.jsonl is empty"):
        reads(tmp_path)


@given(st.lists(st.binary().map(lambda raw: raw.replace(b"\n", b"")) | st.just(line().encode()), min_size=1))
def test_every_line_is_a_candidate_or_dropped_with_a_reason(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    rows, tally = read(path)
    assert len(rows) == tally.rows == len(lines)
