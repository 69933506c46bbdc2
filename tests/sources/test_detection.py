import gzip
import json
from pathlib import Path

import pytest
import zstandard

from lima import config
from lima.records import Candidate, Dropped
from lima.sources import detection, registry
from lima.sources.base import DumpError, ReadStats

REALDATA = Path(__file__).parents[3] / "shared/realdata"
TASK = json.dumps(
    {"Contributors": ["a"], "Definition": ["Do."], "Instances": [{"input": "x", "output": ["y"]}]}, indent=1
)
ALPACA = {"instruction": "Do.", "input": "", "output": "Done."}


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("beer.7z", b"7z\xbc\xaf\x27\x1c\0\4", "stack_exchange"),
        ("cut.7z", b"", "stack_exchange"),  # its reader says what is wrong with it
        ("download", b"7z\xbc\xaf\x27\x1c\0\4", "stack_exchange"),
        ("Posts.xml", b"", "stack_exchange"),
        ("beer-posts-2024.txt", b'\xef\xbb\xbf<?xml version="1.0"?>\r\n<!-- 2024 -->\r\n<posts>', "stack_exchange"),
        ("page.html", b"<!DOCTYPE html>\n<html><body class='mw-wikihow'>", "wikihow"),
        ("RS_2020-01.zst", b"\x28\xb5\x2f\xfd", "reddit"),
        ("rows.ndjson", lines({"id": "a", "subreddit": "AskReddit"}), "reddit"),
        ("rows.jsonl", lines({"kind": "t3", "data": {"subreddit": "AskReddit"}}), "reddit"),
        ("task1.json", TASK.encode(), "natural_instructions"),
        ("train.jsonl", lines({"conversations": ["Hi", "Ho"], "source": "wikihow"}), "released_lima"),
        ("lima.json", json.dumps([ALPACA | {"history": []}], indent=2).encode(), "released_lima"),
        ("alpaca.json", json.dumps([ALPACA]).encode(), "alpaca"),
        ("a.json", json.dumps([{"instruction": "Do.", "output": "Done."}]).encode(), "alpaca"),
        ("a.csv", b"instruction,output\nDo.,Done.\n", "alpaca"),
        ("chat.jsonl", lines({"messages": [{"role": "user", "content": "Hi"}]}), "chat"),
        ("chat.jsonl.gz", gzip.compress(lines({"prompt": "Hi", "completion": "Ho"}), mtime=0), "chat"),
        ("chat.jsonl.zst", zstandard.compress(lines({"prompt": "Hi", "completion": "Ho"})), "chat"),
        ("RS_2020-02.zst", zstandard.compress(lines({"id": "a", "subreddit": "AskReddit"})), "reddit"),
        ("sharegpt.json", json.dumps([{"conversations": [{"from": "human", "value": "Hi"}]}]).encode(), "chat"),
        ("a.jsonl", lines({"id": "a-1", "group": "A", "messages": []}), "authored"),
        ("half.jsonl", b'{"id": "a-1", "gro\n' + lines({"id": "a-2", "group": "A", "messages": []}), "authored"),
    ],
)
def test_a_dump_is_known_by_what_it_holds(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert detection.detect(path) == expected
    assert callable(registry.reader(expected))


def test_a_folder_is_known_by_the_first_file_that_tells(tmp_path):
    site = tmp_path / "beer.stackexchange.com"
    site.mkdir()
    (tmp_path / "README").write_text("Where it came from")
    (site / "Badges.xml").write_text("<badges>\n</badges>")
    (site / "Posts.xml").write_text("<posts>\n</posts>")
    assert detection.detect(tmp_path) == "stack_exchange"


@pytest.mark.parametrize(
    "content",
    [b"plain words", b"\0\xff", b"[]", b"[1]", b'{\n"a": 1\n}', b'{"a": 1}', b"<html>another site</html>", b"<users>"],
)
def test_what_nobody_reads_is_told_what_was_looked_for(tmp_path, content):
    path = tmp_path / "unknown"
    path.write_bytes(content)
    with pytest.raises(DumpError, match=r"unknown is in no known format: 1 × without an ending; the known .*\n  Stack"):
        detection.detect(path)


def test_rows_that_nobody_reads_are_named_by_their_keys_with_the_way_out(tmp_path):
    for name, content in {"a.jsonl": b'{"a": 1, "b": 2}\n', "b.csv": b"a,b\n1,2\n"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            DumpError, match=r"has rows with the keys `a`, `b`; write it as JSON lines of \{\"messages\""
        ):
            detection.detect(tmp_path / name)


def test_an_empty_dump_is_told_to_be_empty(tmp_path):
    (tmp_path / "rows.ndjson").touch()
    with pytest.raises(DumpError, match=r"rows\.ndjson is empty; fetch it again"):
        detection.detect(tmp_path / "rows.ndjson")


@pytest.mark.parametrize("content", [b"{", b'{"subreddit": "AskReddit", "ti', b'[{"instruction": "Do.", "inp'])
def test_json_that_is_cut_short_is_told_where(tmp_path, content):
    path = tmp_path / "rows.ndjson"
    path.write_bytes(content)
    with pytest.raises(DumpError, match=r"is in no known format: \S*rows\.ndjson:1 is no JSON: .*; correct the row"):
        detection.detect(path)


def test_what_is_not_there_is_told():
    with pytest.raises(DumpError, match=r"there is no nowhere\.7z; put the dump there"):
        detection.detect(Path("nowhere.7z"))
    with pytest.raises(DumpError, match="unknown reader: 'usenet'; the readers are stack_exchange, wikihow, "):
        registry.reader("usenet")


@pytest.mark.skipif(not REALDATA.exists(), reason="the real dumps are not on this machine")
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("stack_exchange", "stack_exchange"),
        ("wikihow", "wikihow"),
        ("reddit", "reddit"),
        ("natural_instructions", "natural_instructions"),
        ("natural_instructions_older", "natural_instructions"),
        ("alpaca", "alpaca"),
    ],
)
def test_every_file_of_a_real_source_is_known(folder, expected):
    for file in sorted(path for path in (REALDATA / folder).rglob("*") if path.is_file()):
        if file.suffix != ".xml" or file.name == "Posts.xml":
            assert detection.detect(file) == expected, file


@pytest.mark.skipif(not REALDATA.exists(), reason="the real dumps are not on this machine")
def test_limas_released_files_are_known():
    assert detection.detect(REALDATA / "lima/llama_factory_lima.json") == "released_lima"
    assert detection.detect(REALDATA / "lima/lima_test_set.jsonl") == "released_lima"


@pytest.mark.parametrize("source", ["stack_exchange_stem", "stack_exchange_other", "wikihow", "reddit", "authored"])
def test_the_pieces_of_a_dump_one_after_the_other_give_what_the_dump_gives(source):
    entry = config.load().sources[source]

    def read(dumps: Path) -> list[Candidate | Dropped]:
        return list(registry.reader(entry.reader)(dumps, source=source, license="", tally=ReadStats()))

    pieces = registry.pieces(entry.reader)(Path(entry.dumps))
    assert [record for piece in pieces for record in read(piece.dump)] == read(Path(entry.dumps))


@pytest.mark.parametrize(
    ("reader", "names", "pieces"),
    [
        ("stack_exchange", ["beer/Posts.xml", "beer/Users.xml", "tea/Posts.xml"], ["beer/Posts.xml", "tea/Posts.xml"]),
        ("stack_exchange", ["tea.example.7z", "beer.example.7z"], ["beer.example.7z", "tea.example.7z"]),
        ("wikihow", ["b.html", "a/c.htm"], ["a/c.htm", "b.html"]),
        ("natural_instructions", ["task2.json", "task1.json", "README.json"], ["task1.json", "task2.json"]),
        ("released_lima", ["train.jsonl", "test.jsonl"], ["test.jsonl", "train.jsonl"]),
        # what must be joined stays together
        ("reddit", ["RS.ndjson", "RC.ndjson"], [""]),
        ("authored", ["a.jsonl", "b.jsonl"], [""]),
    ],
)
def test_a_piece_is_a_site_a_page_a_task_or_a_file_and_what_must_be_joined_is_one(tmp_path, reader, names, pieces):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = registry.pieces(reader)(tmp_path)
    assert [piece.dump for piece in found] == [tmp_path / name for name in pieces]
    if reader != "natural_instructions":  # whose other files are never opened
        read = {path for piece in found for path in (piece.dump, *piece.beside) if path.is_file()}
        assert read == {tmp_path / name for name in names}


def test_two_dumps_of_one_site_are_named(tmp_path):
    for folder in ("2023", "2024"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "beer.example.7z").touch()
    with pytest.raises(
        DumpError, match=r"two dumps of site beer\.example: .*2023/beer\.example\.7z and .*2024/beer\.example\.7z"
    ):
        registry.pieces("stack_exchange")(tmp_path)
