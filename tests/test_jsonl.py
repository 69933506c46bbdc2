import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima import jsonl
from lima.errors import LimaError
from lima.records import Example, Funnel, Provenance, Turn


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "turns.jsonl"
    jsonl.write(path, [Turn(role="user", content="old")])

    def interrupted():
        yield Turn(role="user", content="new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jsonl.write(path, interrupted())
    assert list(jsonl.read(path, Turn)) == [Turn(role="user", content="old")]


@given(st.lists(st.builds(Turn, role=st.sampled_from(["user", "assistant"]), content=st.text())))
def test_what_is_written_is_read_again_whatever_its_text(tmp_path_factory, turns):
    path = tmp_path_factory.mktemp("turns") / "turns.jsonl"
    assert jsonl.write(path, turns) == len(turns)
    assert list(jsonl.read(path, Turn)) == turns


BROKEN = {
    "cut in half": ('{"role": "user", "con', r"turns\.jsonl:2 is not a valid Turn: the line: Invalid JSON"),
    "an unknown role": (
        '{"role": "tool", "content": ""}',
        r"turns\.jsonl:2 is not a valid Turn: role: Input should be 'system', 'user'",
    ),
    "an unknown key": (
        '{"role": "user", "content": "", "x": 1}',
        r"turns\.jsonl:2 is not a valid Turn: x: Extra inputs",
    ),
    "a number for a text": (
        '{"role": "user", "content": 7}',
        r"turns\.jsonl:2 is not a valid Turn: content: .*valid string",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_line_is_named_with_its_place_and_what_is_wrong(tmp_path, case):
    line, message = BROKEN[case]
    path = tmp_path / "turns.jsonl"
    path.write_text(json.dumps({"role": "user", "content": "fine"}) + "\n" + line + "\n")
    with pytest.raises(jsonl.MalformedLine, match=message):
        list(jsonl.read(path, Turn))


def test_a_missing_file_says_that_its_stage_has_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the checkout may have results
    with pytest.raises(LimaError, match=r"turns\.jsonl not found; correct the path, or run the stage that writes it"):
        list(jsonl.read(tmp_path / "turns.jsonl", Turn))
    for path, stage in {"data/select/own/chosen.json": "select@own", "data/prompts/test.jsonl": "prompts"}.items():
        with pytest.raises(LimaError, match=rf"{path} not found; run `dvc repro {stage}`$"):
            list(jsonl.read(Path(path), Turn))


def test_blank_lines_are_skipped_and_counted_in_the_line_number_of_an_error(tmp_path):
    path = tmp_path / "turns.jsonl"
    path.write_text('\n{"role": "user", "content": "a"}\n \t\r\n{"role": "user", "content": "b"}\n\n')
    assert [turn.content for turn in jsonl.read(path, Turn)] == ["a", "b"]
    path.write_text(path.read_text() + "broken\n")  # after five lines
    with pytest.raises(jsonl.MalformedLine, match=r"turns\.jsonl:6 is not a valid Turn"):
        list(jsonl.read(path, Turn))


def test_a_dependency_without_records_is_not_an_empty_file(tmp_path):
    path = tmp_path / "new/turns.jsonl"
    jsonl.create(path)
    assert path.stat().st_size > 0
    assert list(jsonl.read(path, Turn)) == []
    assert jsonl.write(path, [], is_dependency=True) == 0
    assert path.read_text() == "\n"
    assert jsonl.write(path, [Turn(role="user", content="a")], is_dependency=True) == 1
    assert path.read_text() == '{"role":"user","content":"a"}\n'
    assert jsonl.write(path, []) == 0
    assert path.read_bytes() == b""


def example(id_: str) -> Example:
    origin = Provenance(source="s", site="", id=id_, url="", author="", license="", digest="")
    return Example(id=id_, messages=(), tags=(), provenance=origin)


@given(st.lists(st.text(), unique=True), st.sets(st.text()))
def test_records_are_picked_by_their_ids_whatever_those_hold(tmp_path_factory, ids, others):
    path = tmp_path_factory.mktemp("examples") / "examples.jsonl"
    jsonl.write(path, map(example, ids))
    wanted = {*ids[::2], *others}
    assert [found.id for found in jsonl.pick(path, Example, wanted)] == [id_ for id_ in ids if id_ in wanted]


def test_lines_that_are_not_picked_are_not_decoded(tmp_path):
    path = tmp_path / "examples.jsonl"
    jsonl.write(path, [example("a"), example("b")])
    path.write_text('{"id":"c", broken\n' + path.read_text())
    assert [found.id for found in jsonl.pick(path, Example, {"b"})] == ["b"]
    with pytest.raises(jsonl.MalformedLine, match=r"examples\.jsonl:1 is not a valid Example"):
        list(jsonl.pick(path, Example, {"c"}))


def test_a_funnel_that_does_not_add_up_is_no_funnel():
    # 10 offered = 4 kept + 1 prompt + 5 dropped
    Funnel(source="s", offered=10, kept=4, prompts=1, dropped={"short": 2, "long": 3})
    with pytest.raises(ValueError, match=r"10 offered, but 4 kept \+ 1 prompts \+ 4 dropped"):
        Funnel(source="s", offered=10, kept=4, prompts=1, dropped={"short": 2, "long": 2})
