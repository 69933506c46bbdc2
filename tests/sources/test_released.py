import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Candidate, Dropped, Turn
from lima.sources.alpaca.reader import read as read_alpaca
from lima.sources.base import DumpError, ReadFunction, ReadStats
from lima.sources.released_lima.reader import read as read_lima

REALDATA = Path(__file__).parents[2] / "../shared/realdata"


def read(reader: ReadFunction, dumps: Path) -> tuple[list[Candidate | Dropped], ReadStats]:
    tally = ReadStats()
    return list(reader(dumps, source="released", license="other", tally=tally)), tally


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def converted(number: int) -> list[dict[str, object]]:
    return [{"instruction": f"q{n}", "input": "", "output": f"a{n}", "history": []} for n in range(number)]


def test_a_published_line_is_a_dialogue_from_its_source(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(lines({"conversations": ["1", "2", "3", "4"], "source": "multi_turn"}))
    (row,), tally = read(read_lima, path)
    assert isinstance(row, Candidate)
    assert (row.id, row.title, row.response) == ("released/multi_turn/train-0", "1", "2")
    assert row.later_turns == (Turn(role="user", content="3"), Turn(role="assistant", content="4"))
    assert (row.provenance.site, row.provenance.license) == ("multi_turn", "other")
    assert tally == ReadStats(rows=1, questions=1, answers=1)


@pytest.mark.parametrize("conversations", ["only a prompt", ["only a prompt"]])
def test_a_test_prompt_is_a_string_or_a_list_of_one(tmp_path, conversations):
    path = tmp_path / "test.jsonl"
    path.write_text(lines({"conversations": conversations}))
    (row,), tally = read(read_lima, path)
    assert (row.title, row.response, row.provenance.site) == ("only a prompt", "", "unknown")
    assert tally == ReadStats(rows=1, questions=1, answers=0)


def test_in_a_converted_file_the_history_comes_first(tmp_path):
    path = tmp_path / "lima.json"
    path.write_text(json.dumps([{"instruction": "3", "input": "", "output": "4", "history": [["1", "2"]]}]))
    (row,), _ = read(read_lima, path)
    assert (row.title, row.response, row.provenance.site) == ("1", "2", "unknown")  # one row is no file of LIMA's size
    assert [turn.content for turn in row.later_turns] == ["3", "4"]


@pytest.mark.parametrize(("rows", "last"), [(1030, 1029), (1029, 1029)])
def test_in_a_file_of_limas_size_the_order_tells_the_source(tmp_path, rows, last):
    path = tmp_path / "lima.json"
    path.write_text(json.dumps(converted(rows)))
    found, _ = read(read_lima, path)
    sites = {int(row.provenance.id.removeprefix("lima-")): row.provenance.site for row in found}
    assert [sites[n] for n in (0, 399, 400, 599, 600, 799, 800, 849, 850, 999, 1000, last)] == [
        *("stackexchange", "stackexchange", "authors", "authors", "wikihow", "wikihow"),
        *("natural_instructions", "natural_instructions"),
        *("pushshift_r_writing_prompts", "pushshift_r_writing_prompts", "multi_turn", "multi_turn"),
    ]
    assert (1021 in sites) == (rows == 1030)  # the example that the file of 1,029 lacks
    assert found[1021].title == "q1021"


def test_alpacas_prompt_is_the_instruction_and_the_input_where_there_is_one(tmp_path):
    rows = [
        {"instruction": "Design a plan.", "input": "Runners", "output": "Run."},
        {"instruction": "Make tea.", "input": "", "output": "Boil."},
    ]
    (tmp_path / "alpaca.json").write_text(json.dumps(rows, indent=2))
    found, tally = read(read_alpaca, tmp_path)
    assert [(row.id, row.title, row.description, row.response) for row in found] == [
        ("released/alpaca/alpaca-0", "Design a plan.", "Runners", "Run."),
        ("released/alpaca/alpaca-1", "Make tea.", "", "Boil."),
    ]
    assert tally == ReadStats(rows=2, questions=2, answers=2)


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        ('{"conversations": ["cut', "no JSON: "),
        ('{"conversations": []}', "not in LIMA's layout, as the rows before, but rows with the keys `conversations`"),
        ('{"conversations": ["q", 7]}', "conversations.1: a turn is a text, or an object with role and content, not 7"),
        (
            '{"question": "q"}',
            "not in LIMA's layout, as the rows before, but prompts without responses (rows with the keys `question`)",
        ),
        ("7", "not in LIMA's layout, as the rows before, but rows of the type int"),
    ],
)
def test_a_line_that_cannot_be_read_is_kept_with_its_place_and_the_rest_goes_on(tmp_path, bad, detail):
    path = tmp_path / "train.jsonl"
    path.write_text(bad + "\n" + lines({"conversations": ["q", "a"], "source": "wikihow"}))
    (row, good), tally = read(read_lima, path)
    assert (row.reason, row.place, row.raw) == ("bad_row", f"{path}:1", bad)
    assert row.detail.startswith(detail)
    assert good.provenance.id == "train-1"
    assert tally == ReadStats(rows=2, questions=1, answers=1)


def test_an_element_that_cannot_be_read_is_kept_with_its_place_counted_from_one(tmp_path):
    path = tmp_path / "alpaca.json"
    path.write_text('[{"instruction": "q", "output": "a"}, {"instruction": "", "output": "a"}]')
    (_, bad), _ = read(read_alpaca, path)
    assert (bad.reason, bad.place) == ("bad_row", f"{path}:2")
    assert bad.detail.startswith("instruction: no text")


@pytest.mark.parametrize("reader", [read_lima, read_alpaca])
def test_an_array_cut_short_and_an_empty_file_are_errors(tmp_path, reader):
    path = tmp_path / "set.json"
    path.write_text('[{"instruction": "q", "outp')
    with pytest.raises(DumpError, match=r"set\.json is no JSON: .*fetch it again"):
        read(reader, path)
    path.write_text("")
    with pytest.raises(DumpError, match=r"set\.json is empty; fetch it again"):
        read(reader, path)


@given(st.lists(st.binary().map(lambda raw: b"x" + raw.replace(b"\n", b"")), min_size=1))
def test_every_line_is_a_candidate_or_dropped_with_a_reason(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(b"\n".join(rows) + b"\n")
    for reader in (read_lima, read_alpaca):
        found, tally = read(reader, path)
        assert len(found) == tally.rows == len(rows)


@pytest.mark.skipif(not REALDATA.exists(), reason="the real sets are not here")
def test_the_real_sets_are_counted_and_told_apart_by_source():
    found, _ = read(read_lima, REALDATA / "lima/llama_factory_lima.json")
    first = [json.loads(line)["question"] for line in (REALDATA / "lima/xzhou20_lima.jsonl").read_bytes().splitlines()]
    assert len(found) == 1029
    # the list of all first prompts, in LIMA's order, is another person's: our numbers must point to the same prompts
    assert all(row.title == first[int(row.provenance.id.rpartition("-")[2])] for row in found)
    assert sum(row.provenance.site == "wikihow" for row in found) == 200
    assert sum(row.title.startswith(("How to ", "How do ")) for row in found[600:800]) > 190
    assert read(read_lima, REALDATA / "lima/lima_test_set.jsonl")[1] == ReadStats(rows=300, questions=300, answers=0)
    for name, count in (("alpaca_999_rows", 999), ("alpaca_3111_rows", 3111)):
        path = REALDATA / f"alpaca/{name}.json"
        found, tally = read(read_alpaca, path)
        echoes = [row for row in found if isinstance(row, Dropped)]
        assert tally.rows == len(found) == len(json.loads(path.read_bytes())) == count
        assert {row.reason for row in echoes} <= {"response_equals_input", "no_answer"}
        assert tally.answers == count - len(echoes)
