"""The reader `chat`: every layout and container gives the same dialogue, and other rows are named."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lima.curation import attribution
from lima.records import Candidate, Dropped, Turn
from lima.sources import chat_layouts as layouts
from lima.sources import chat_rows, containers, detection, lines, prompt_files, registry, test_sets
from lima.sources.alpaca.reader import read as read_alpaca
from lima.sources.base import DumpError, ReadStats
from lima.sources.chat import reader
from lima.sources.released_lima.reader import read as read_lima

ASKED, TOLD = "How does dough rise?", "Yeast makes gas."
USER, ASSISTANT = {"role": "user", "content": ASKED}, {"role": "assistant", "content": TOLD}
SYSTEM = {"role": "system", "content": "Be brief."}


def read(dumps: Path, reader: Callable = reader.read) -> tuple[list[Candidate | Dropped], ReadStats]:
    tally = ReadStats()
    return list(reader(dumps, source="s", license="CC0", tally=tally)), tally


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def reply(text: str, role: str, *, rank: int | None = None, replies: tuple = (), **more: object) -> dict:
    return {"text": text, "role": role, "rank": rank, "replies": list(replies), **more}


TREE = reply(
    ASKED,
    "prompter",
    replies=(
        reply("Worse.", "assistant", rank=1),
        reply("Removed.", "assistant", rank=-1, deleted=True),
        reply(TOLD, "assistant", rank=0, replies=(reply("Nobody answered this.", "prompter"),)),
        reply("Unranked.", "assistant"),
    ),
)
# layout, row
PAIRS = [
    ("messages", {"messages": [USER, ASSISTANT]}),
    ("No Robots", {"prompt": ASKED, "prompt_id": "1", "messages": [USER, ASSISTANT], "category": "Open QA"}),
    ("content in parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, ASSISTANT]}),
    ("ShareGPT", {"id": "x", "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": TOLD}]}),
    ("prompt, completion", {"prompt": ASKED, "completion": TOLD}),
    ("prompt, response", {"prompt": ASKED, "response": TOLD}),
    ("conversational prompt", {"prompt": [USER], "completion": [ASSISTANT]}),
    ("Alpaca", {"instruction": ASKED, "input": "", "output": TOLD}),
    ("Alpaca, no input", {"instruction": ASKED, "input": "<noinput>", "output": TOLD}),
    ("Alpaca, null input", {"instruction": ASKED, "input": None, "output": TOLD}),
    ("Alpaca without input", {"instruction": ASKED, "output": TOLD}),
    ("Dolly", {"instruction": ASKED, "context": "", "response": TOLD, "category": "open_qa"}),
    ("OASST", {"message_tree_id": "t", "prompt": TREE}),
    ("DPO, messages", {"prompt": ASKED, "chosen": [USER, ASSISTANT], "rejected": [USER, USER]}),
    ("DPO, response as messages", {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [ASSISTANT]}),
    ("DPO, text", {"prompt": ASKED, "chosen": TOLD, "rejected": "No."}),
    ("DPO, transcript", {"chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {TOLD}", "rejected": "No."}),
    ("LIMA", {"conversations": [ASKED, TOLD]}),
]


@pytest.mark.parametrize("row", [row for _, row in PAIRS], ids=[name for name, _ in PAIRS])
def test_every_layout_gives_the_same_dialogue_and_prompt(tmp_path, row):
    path = write(tmp_path / "train.jsonl", row)
    (found,), tally = read(path)
    assert isinstance(found, Candidate)
    assert (found.id, found.title, found.description, found.response) == ("s/train/train-0", ASKED, "", TOLD)
    assert (found.system, found.later_turns, found.markup) == ("", (), "markdown")
    assert tally == ReadStats(rows=1, questions=1, answers=1)
    assert [text for _, text in test_sets.read(path)] == prompt_files.read(path) == [ASKED]
    assert detection.detect(path) in ("chat", "alpaca", "released_lima")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [SYSTEM, USER, ASSISTANT]},
        {"messages": [{"role": "developer", "content": "Be brief."}, USER, ASSISTANT]},
        {"system": "Be brief.", "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": TOLD}]},
        {"system_prompt": "Be brief.", "question": ASKED, "response": TOLD},
        {"prompt": ASKED, "chosen": [SYSTEM, USER, ASSISTANT], "rejected": []},
    ],
)
def test_a_leading_system_turn_is_kept(tmp_path, row):
    path = write(tmp_path / "train.jsonl", row)
    (found,), _ = read(path)
    assert (found.system, found.title, found.response) == ("Be brief.", ASKED, TOLD)
    assert [text for _, text in test_sets.read(path)] == prompt_files.read(path) == [ASKED]


def test_turns_after_the_first_exchange_are_later_turns(tmp_path):
    more = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "It eats sugar."}]
    (found,), _ = read(write(tmp_path / "train.jsonl", {"messages": [USER, ASSISTANT, *more]}))
    assert found.later_turns == tuple(Turn(**turn) for turn in more)


def test_an_input_stands_below_its_instruction_and_dollys_footnotes_go(tmp_path):
    dolly = {"instruction": "Sum up.", "context": "Yeast[12] is a fungus.[1]", "response": "A fungus."}
    path = write(tmp_path / "train.jsonl", dolly)
    (found,), _ = read(path)
    assert (found.title, found.description) == ("Sum up.", "Yeast is a fungus.")
    assert [text for _, text in test_sets.read(path)] == ["Sum up.", "Yeast is a fungus."]
    assert prompt_files.read(path) == ["Sum up.\n\nYeast is a fungus."]
    alpaca = write(tmp_path / "alpaca.jsonl", {"instruction": "Sum up.", "input": "See a[1].", "output": "It."})
    assert read(alpaca)[0][0].description == "See a[1]."
    blank = write(tmp_path / "blank.jsonl", {"instruction": " ", "input": "A text.", "output": "It."})
    assert (read(blank)[0][0].title, read(blank)[0][0].description) == ("A text.", "")


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"instruction": "Why?", "input": "", "output": ""}, "no_answer", "turn 2 is empty"),
        ({"instruction": "Why?", "input": "", "output": None}, "no_answer", "turn 2 is empty"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "no_answer", "turn 2 is empty"),
        ({"messages": [USER, ASSISTANT, USER, {"role": "assistant", "content": " "}]}, "no_answer", "turn 4 is empty"),
        ({"instruction": "Fix it.", "input": "A  dog.", "output": "A dog. "}, "response_equals_input", "'A dog.'"),
        ({"prompt": "A dog.", "response": "A dog."}, "response_equals_input", "'A dog.'"),
        (
            {"instruction": "Fix it.", "input": "A dog.", "output": "A dog.", "history": [["Hi", "Ho"]]},
            "response_equals_input",
            "'A dog.'",
        ),
        ({"messages": [ASSISTANT, USER]}, "turns_do_not_alternate", "assistant user"),
        ({"messages": [USER, USER, ASSISTANT]}, "turns_do_not_alternate", "user user assistant"),
        ({"messages": [USER, SYSTEM]}, "turns_do_not_alternate", "user system"),
        ({"messages": [SYSTEM]}, "empty_text", "no user turn"),
        ({"messages": [USER, {"role": "tool", "content": "7"}, ASSISTANT]}, "third_speaker", "tool"),
    ],
)
def test_a_row_that_is_no_example_is_dropped_with_its_reason(tmp_path, row, reason, detail):
    path = write(tmp_path / "train.jsonl", row)
    (found,), tally = read(path)
    assert (found.reason, found.detail, found.place) == (reason, detail, f"{path}:1")
    assert tally == ReadStats(rows=1, questions=1, answers=0)


def test_an_output_that_differs_from_its_input_in_case_is_kept(tmp_path):
    (found,), _ = read(write(tmp_path / "a.jsonl", {"instruction": "Fix it.", "input": "a dog.", "output": "A dog."}))
    assert found.response == "A dog."


BAD = [
    ({"messages": [USER, {"role": "user", "content": [{"type": "image_url"}]}]}, "messages.1: a part that is not text"),
    (
        {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": 7}]}]},
        "messages.1: a part that is not",
    ),
    ({"messages": [USER, {"role": "assistant", "content": 7}]}, "messages.1: no text, but 7"),
    ({"messages": [USER, 7]}, "messages.1: a turn is a text, or an object with role and content, not 7"),
    ({"text": "Plain."}, "not in chat messages, as the rows before, but prompts without responses (rows with"),
    ({"conversations": [ASKED, TOLD]}, "not in chat messages, as the rows before, but rows with the keys"),
    (7, "not in chat messages, as the rows before, but rows of the type int"),
]


@pytest.mark.parametrize(("row", "detail"), BAD)
def test_a_row_that_does_not_fit_is_a_bad_row_with_its_place_and_the_rest_goes_on(tmp_path, row, detail):
    good = {"messages": [USER, ASSISTANT]}
    path = write(tmp_path / "train.jsonl", good, row, good)
    (_, bad, last), tally = read(path)
    assert (bad.reason, bad.place, bad.raw) == ("bad_row", f"{path}:2", json.dumps(row))
    assert bad.detail.startswith(detail)
    assert (last.provenance.id, tally.rows) == ("train-2", 3)


def test_malformed_and_overlong_lines_are_bad_rows_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE", 200)
    monkeypatch.setattr(lines, "BLOCK", 64)
    good = json.dumps({"prompt": ASKED, "response": TOLD})
    long = json.dumps({"prompt": ASKED, "response": "x" * 300})
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(['{"prompt": "cut', long, good, "", long, '{"prompt"', good]) + "\n")
    found, tally = read(path)
    assert [row.place for row in found if isinstance(row, Dropped)] == [f"{path}:{line}" for line in (1, 2, 5, 6)]
    assert [row.response for row in found if isinstance(row, Candidate)] == [TOLD] * 2
    assert found[1].detail == f"a line of {len(long) + 1} bytes, at most 200"
    assert (tally.rows, tally.answers) == (6, 2)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"a": 1, "b": 2}] * 3, r"has rows with the keys `a`, `b`, which is not a chat layout; write it as JSON"),
        (
            [{"text": "Plain."}],
            r"has prompts without responses \(rows with the keys `text`\), which is not a chat layout",
        ),
        (
            [{"message_id": "1", "parent_id": None, "text": "Why?", "role": "prompter"}],
            r"has OASST's single messages .*; fetch its trees instead",
        ),
        ([7, 8], "has rows of the type int"),
    ],
)
def test_a_file_of_another_layout_is_one_error_that_names_it(tmp_path, rows, says):
    with pytest.raises(DumpError, match=says):
        read(write(tmp_path / "train.jsonl", *rows))


def test_lima_and_alpaca_name_the_layout_that_they_do_not_take(tmp_path):
    path = write(tmp_path / "s.jsonl", *[dict(PAIRS)["ShareGPT"]] * 30)
    with pytest.raises(DumpError, match=r"has ShareGPT's layout .*takes LIMA's layout or Alpaca's layout; set `reader"):
        read(path, read_lima)
    with pytest.raises(DumpError, match=r"has ShareGPT's layout .*takes Alpaca's layout; set `reader: chat`"):
        read(path, read_alpaca)


# --- containers ----------------------------------------------------------------------------------------------------

ROWS = [
    {"messages": [USER, ASSISTANT], "source": "bread"},
    {"messages": [{"role": "user", "content": "Why, “so”?"}, {"role": "assistant", "content": "Line 1,\nline 2"}]},
]


def table() -> pyarrow.Table:
    return pyarrow.Table.from_pylist([{"messages": row["messages"], "source": row.get("source")} for row in ROWS])


def as_csv(delimiter: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["messages", "source"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(row | {"messages": json.dumps(row["messages"])} for row in ROWS)
    return out.getvalue().encode("utf-8-sig")


def as_arrow(open_: Callable) -> bytes:
    out = pyarrow.BufferOutputStream()
    with open_(out, table().schema) as writer:
        writer.write_table(table())
    return out.getvalue().to_pybytes()


def as_parquet() -> bytes:
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table(), out)
    return out.getvalue().to_pybytes()


JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FILES = {
    "train.jsonl": JSONL,
    "train.json": json.dumps(ROWS, indent=1).encode(),
    "train-lines.json": JSONL,
    "train.ndjson": b"\xef\xbb\xbf" + JSONL.replace(b"\n", b"\r\n\r\n"),
    "train.jsonl.gz": gzip.compress(JSONL[:60]) + gzip.compress(JSONL[60:]),
    "train.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "train.jsonl.zst": zstandard.compress(JSONL),
    "train.csv": as_csv(","),
    "train.csv.gz": gzip.compress(as_csv(",")),
    "train.tsv": as_csv("\t"),
    "train-00000-of-00001.parquet": as_parquet(),
    "train-stream.arrow": as_arrow(pyarrow.ipc.new_stream),
    "train-file.arrow": as_arrow(pyarrow.ipc.new_file),
}


@pytest.mark.parametrize("name", FILES)
def test_every_container_gives_the_same_rows(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    found, tally = read(path)
    assert [(row.title, row.response) for row in found] == [(ASKED, TOLD), ("Why, “so”?", "Line 1,\nline 2")]
    assert [row.provenance.site for row in found] == ["bread", reader.split(path)]
    assert tally == ReadStats(rows=2, questions=2, answers=2)
    assert detection.detect(path) == "chat"
    assert prompt_files.read(path) == [text for _, text in test_sets.read(path)] == [ASKED, "Why, “so”?"]


def test_a_parquet_file_is_recognized_by_its_first_bytes(tmp_path):
    path = tmp_path / "train.arrow"
    path.write_bytes(FILES["train-00000-of-00001.parquet"])
    found, _ = read(path)
    assert [row.title for row in found] == [ASKED, "Why, “so”?"]


@pytest.mark.parametrize(
    "name", [name for name in FILES if not name.endswith(("lines.json", ".csv", ".tsv", ".jsonl", ".ndjson"))]
)
def test_a_container_cut_short_is_an_error_or_leaves_a_bad_row(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name][: len(FILES[name]) * 2 // 3])
    with pytest.raises(DumpError, match=r"fetch it again"):
        read(path)


def test_cells_that_are_missing_too_many_or_no_utf_8_are_bad_rows_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt,response\nWhy?\nWhy?,So.,x\nO\xf9?,So.\nWhy?,So.\n")
    found, _ = read(path)
    assert [getattr(row, "detail", None) for row in found] == [
        "fewer cells than the header's 2",
        "more cells than the header's 2",
        "no text in UTF-8; save the file as UTF-8",
        None,
    ]
    assert (found[0].place, found[3].title) == (f"{path}:2", "Why?")


def test_a_cell_may_be_longer_than_csvs_usual_limit_and_one_beyond_the_limit_of_a_line_is_a_bad_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"prompt,response\nWhy?,{'x' * 200_000}\nWhy?,{'x' * (lines.MAX_LINE + 1)}\nWhy?,So.\n")
    bad, first, last = read(path)[0]  # what cannot be read before the layout is known comes first
    assert len(first.response) == 200_000
    assert bad.detail.startswith("no CSV: field larger than field limit")
    assert last.response == "So."


def test_a_text_that_looks_like_a_list_is_a_text(tmp_path):
    row = {"prompt": '["b", "a"] Sort it.', "response": '[{"a": 1}]'}
    (found,), _ = read(write(tmp_path / "a.jsonl", row))
    assert (found.title, found.response) == (row["prompt"], row["response"])


def test_a_saved_data_set_and_a_folder_of_splits_are_read_without_their_metadata(tmp_path):
    for split in ("train", "test"):
        folder = tmp_path / "saved" / split
        folder.mkdir(parents=True)
        (folder / "data-00000-of-00001.arrow").write_bytes(FILES["train-stream.arrow"])
        (folder / "cache-1f.arrow").write_bytes(b"torn")
        (folder / "state.json").write_text('{"_data_files": []}')
        (folder / "dataset_info.json").write_text("{}")
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found, _ = read(tmp_path / "saved")
    assert [row.id for row in found] == [
        "s/bread/test/data-00000-of-00001-0",
        "s/test/test/data-00000-of-00001-1",
        "s/bread/train/data-00000-of-00001-0",
        "s/train/train/data-00000-of-00001-1",
    ]
    assert detection.detect(tmp_path / "saved") == "chat"
    for number in (0, 1):
        path = tmp_path / f"hub/data/train-0000{number}-of-00002.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES["train-00000-of-00001.parquet"])
    (tmp_path / "hub/README.md").write_text("---\nlicense: mit\n---\n")
    found, _ = read(tmp_path / "hub")
    assert len({row.id for row in found}) == 4
    assert {row.provenance.site for row in found} == {"bread", "train"}


def test_a_folder_of_metadata_alone_is_told(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DumpError, match="has no file with rows, only metadata"):
        read(tmp_path)


def test_two_files_that_differ_only_in_their_ending_are_named(tmp_path):
    for name in ("train.jsonl", "train.parquet"):
        (tmp_path / name).write_bytes(FILES["train.jsonl"])
    with pytest.raises(DumpError, match=r"train\.jsonl and .*train\.parquet differ only in their ending"):
        read(tmp_path)


def test_a_piece_gives_the_ids_that_the_whole_dump_gives(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "train.jsonl", *ROWS)
    whole = [row.id for row in read(tmp_path)[0]]
    reader = registry.reader("chat", root=tmp_path)
    apart = [row.id for piece in registry.pieces("chat")(tmp_path) for row in read(piece.dump, reader)[0]]
    assert whole == apart == ["s/bread/a/train-0", "s/train/a/train-1", "s/bread/b/train-0", "s/train/b/train-1"]


# --- attribution ---------------------------------------------------------------------------------------------------


def test_a_row_is_credited_as_it_says_itself_and_else_as_unknown(tmp_path):
    own = {"author": "Ada", "url": "https://example.com/1", "license": "MIT"}
    path = write(tmp_path / "train.jsonl", ROWS[0] | own, ROWS[0] | dict.fromkeys(own), ROWS[0])
    credited, *unknown = (row.provenance for row in read(path)[0])
    assert (credited.author, credited.url, credited.license) == ("Ada", "https://example.com/1", "MIT")
    for provenance in unknown:
        assert (provenance.url, provenance.license) == ("", "CC0")
        assert attribution.NAMELESS.search(provenance.author)


def test_a_source_that_cannot_be_a_site_is_none(tmp_path):
    rows = [ROWS[0] | {"source": source} for source in ("https://example.com/a", "", 7, "a/b", "x" * 61, "Open QA")]
    found, _ = read(write(tmp_path / "train.jsonl", *rows))
    assert [row.provenance.site for row in found] == ["train"] * 5 + ["Open QA"]


KEYS = (
    *("messages", "conversations", "role", "from", "content", "value", "prompt", "response", "instruction", "input"),
    *("output", "context", "chosen", "text", "replies", "rank", "history", "system", "turns"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON)
def test_whatever_a_row_holds_it_is_a_candidate_dropped_a_bad_row_or_a_named_error(tmp_path_factory, row):
    path = write(tmp_path_factory.mktemp("any") / "any.jsonl", row, {"messages": [USER, ASSISTANT]})
    try:
        found, tally = read(path)
    except DumpError:
        return
    assert len(found) == tally.rows == 2
    if layout := layouts.of(row):
        assert layout.name


def test_no_row_is_lost_where_the_layout_is_told_by_the_first_ones(tmp_path):
    count = 2 * chat_rows.FIRST + 3
    rows = [{"prompt": f"{n}?", "response": "So."} for n in range(count)]
    found, tally = read(write(tmp_path / "train.jsonl", *rows))
    assert [row.title for row in found] == [f"{n}?" for n in range(count)]
    assert tally.rows == count


def test_the_suffix_is_that_below_the_compression():
    names = {"a.jsonl": ".jsonl", "a.JSONL.GZ": ".jsonl", "a.b.csv.zst": ".csv", "a": "", "v1.2.parquet": ".parquet"}
    assert {name: containers.suffix(Path(name)) for name in names} == names
