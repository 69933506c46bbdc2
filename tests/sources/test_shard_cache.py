import os
from pathlib import Path

import numpy as np
import pytest

from lima.records import Provenance, Turn
from lima.sources import hand_written as rows
from lima.sources import shard_cache
from lima.sources.base import DumpError, Prefilter
from lima.sources.shard_cache import Job
from lima.sources.shards import partitions

EARLY = Prefilter(min_response_score=10, reservoir=5, shares=lambda _, numbers: np.full(len(numbers), 0.5))
ROW = '<row Id="{}" PostTypeId="{}" ParentId="1" Score="3" Title="t" Body="b" CreationDate="2020-01-01" />'


@pytest.fixture
def dump(tmp_path, monkeypatch) -> Path:
    """One question, its answer and a row cut short."""
    monkeypatch.chdir(tmp_path)
    dump = Path("dumps/beer/Posts.xml")
    dump.parent.mkdir(parents=True)
    dump.write_text("\n".join(["<posts>", ROW.format(1, 1), ROW.format(2, 2), "<row cut in ha", "</posts>"]))
    return dump


def job(**more: object) -> Job:
    (part,) = partitions("stack_exchange", Path("dumps"), enough=1)
    values = {"source": "s", "reader": "stack_exchange", "license": "CC BY-SA", "part": part}
    values |= {"author": "", "url": "", "root": "dumps"}
    values |= {
        "min_response_score": 10,
        "reservoir": 5,
        "seed": 17,
        "answered": (),
        "asked": (),
        "code": "of today",
        "store": "work/kept",
    }
    return Job(**(values | more))


def test_a_part_is_kept_with_its_counts_and_found_again_without_being_read(dump):
    first = shard_cache.cached(job(), EARLY)
    assert (first.rows, first.questions, first.answers, first.candidates) == (3, 1, 1, (1,))
    assert (first.dropped, first.again) == ({"bad_row": 1}, False)
    sizes = [(Path(first.folder) / name).stat().st_size for name in ("candidates.jsonl", "dropped.jsonl")]
    assert sizes == list(first.sizes)
    written = (Path(first.folder) / "part.json").stat().st_mtime_ns
    assert shard_cache.cached(job(), EARLY) == first.model_copy(update={"again": True})
    assert (Path(first.folder) / "part.json").stat().st_mtime_ns == written
    assert [path.name for path in Path("work/kept").iterdir()] == [Path(first.folder).name]


def test_the_digest_is_of_bytes_paths_parameters_and_code_and_not_of_times_or_where_it_is_kept(dump):
    first = shard_cache.identity(job())
    os.utime(dump, (1, 1))
    assert shard_cache.identity(job()) == first == shard_cache.identity(job(store="elsewhere"))
    changes = (
        {"code": "of tomorrow"},
        {"license": "CC0"},
        {"author": "Ada"},
        {"url": "https://example.com"},
        {"root": "dumps/beer"},
        {"source": "t"},
        {"seed": 18},
        {"reservoir": 6},
        {"asked": ("Ask",)},
    )
    others = [shard_cache.identity(job(**change)) for change in changes]
    dump.write_text(dump.read_text().replace('Score="3"', 'Score="4"', 1))
    others.append(shard_cache.identity(job()))
    dump.parent.rename("dumps/ales")
    others.append(shard_cache.identity(job()))
    assert len({first, *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (("", ""), ("Ada", "https://example.com/set")),
        (("an unnamed user", ""), ("Ada", "https://example.com/set")),
        (("Bob", "https://example.com/row"), ("Bob", "https://example.com/row")),  # the row comes first
    ],
)
def test_author_and_address_of_the_source_are_credited_where_the_row_has_none(own, expected):
    place = Provenance(source="s", site="t", id="1", url=own[1], author=own[0], license="CC0", digest="")
    row = rows.candidate(rows.Written(id="1", messages=(Turn(role="user", content="Why?"),)), tags=(), provenance=place)
    found = shard_cache.credited(row, author="Ada", url="https://example.com/set")
    assert (found.provenance.author, found.provenance.url) == expected
    assert shard_cache.credited(row, author="", url="") == row


@pytest.mark.parametrize("torn", ["candidates.jsonl", "dropped.jsonl", "part.json"])
def test_a_kept_part_with_a_file_torn_by_a_crash_is_read_again(dump, torn):
    whole = shard_cache.cached(job(), EARLY)
    file = Path(whole.folder) / torn
    text = file.read_bytes()
    file.write_bytes(text[:-1]) if torn != "part.json" else file.unlink()
    assert shard_cache.cached(job(), EARLY) == whole
    assert file.read_bytes() == text


def test_a_dump_that_cannot_be_read_leaves_nothing_behind(dump):
    dump.write_text("")
    with pytest.raises(DumpError, match="no posts in"):
        shard_cache.cached(job(), EARLY)
    assert list(Path("work/kept").iterdir()) == []


def test_what_a_killed_worker_left_unfinished_is_swept_and_nothing_else(dump):
    kept = shard_cache.cached(job(), EARLY)
    Path("work/kept/abc.unfinished/part").mkdir(parents=True)
    shard_cache.remove_partial(Path("work/kept"))
    assert [path.name for path in Path("work/kept").iterdir()] == [Path(kept.folder).name]


def test_the_code_of_the_reader_is_part_of_the_digest(tmp_path):
    other = tmp_path / "chance.py"
    other.write_text("1")
    before = shard_cache.code("wikihow", other)
    assert shard_cache.code("wikihow", other) == before
    other.write_text("2")
    digests = (shard_cache.code("wikihow", other), shard_cache.code("wikihow"), shard_cache.code("reddit"))
    assert len({before, *digests}) == 4


def test_the_code_of_the_texts_modules_is_part_of_the_digest(monkeypatch):
    # readers normalise text and recognise languages
    before = shard_cache.code("wikihow")
    digest = shard_cache._digest
    monkeypatch.setattr(shard_cache, "_digest", lambda path: "changed" if path.parent.name == "text" else digest(path))
    assert shard_cache.code("wikihow") != before
