import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Candidate
from lima.sources import detection
from lima.sources.base import DumpError, ReadStats
from lima.sources.wikihow import reader
from lima.sources.wikihow.reader import warc
from lima.sources.wikihow.reader.warc import BrokenRecord, WarcResponse
from tests.sources.test_wikihow import OF_2014, OF_2023


def record(
    url: str, body: bytes, *, status: str = "200 OK", kind: str = "text/html", of: str = "response", more: str = ""
) -> bytes:
    http = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: {of}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2023-01-01T00:00:00Z\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"Content-Type: application/http; msgtype={of}\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"


A, B, C = (record(f"https://www.wikihow.com/{name}", b"<html>" + name.encode() * 200) for name in "ABC")


def read(folder: Path, content: bytes, name: str = "crawl.warc") -> list[WarcResponse | BrokenRecord]:
    (folder / name).write_bytes(content)
    return list(warc.read(folder / name))


def told(found: list[WarcResponse | BrokenRecord]) -> list[tuple[int, str]]:
    """Each record's offset, and the page's name or what is wrong."""
    return [(f.offset, f.url[-1] if isinstance(f, WarcResponse) else f.reason) for f in found]


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "each compressed"])
def test_each_page_comes_with_its_offset_address_and_status(tmp_path, packed):
    request = record("https://www.wikihow.com/A", b"", of="request")
    parts = [packed(part) for part in (request, A, B)]
    first, second = read(tmp_path, b"".join(parts))
    assert first == WarcResponse(len(parts[0]), "https://www.wikihow.com/A", 200, "text/html", b"<html>" + b"A" * 200)
    assert second.offset == len(parts[0]) + len(parts[1])


def changed(text: bytes, old: bytes, new: bytes) -> bytes:
    assert old in text
    return text.replace(old, new, 1)


PACKED_B = gzip.compress(B)
BROKEN = {
    "version": ([A, changed(B, b"WARC/1.0", b"WARC/1.x"), C], [(0, "A"), (1, "Invalid WARC header"), (2, "C")]),
    "too long": (
        [A, changed(B, b"Content-Length: 2", b"Content-Length: 92"), C],
        [(0, "A"), (1, "cut short: 731 of 9,206 bytes"), (2, "C")],
    ),
    "too short": (
        [A, changed(B, b"Content-Length: 2", b"Content-Length: "), C],
        [(0, "A"), (1, "B"), (1, "what follows the record here is none: Invalid WARC header"), (2, "C")],
    ),
    "no length": (
        [A, changed(B, b"Content-Length: 2", b"Content-Length: -"), C],
        [(0, "A"), (1, "a response without HTTP's first line"), (2, "C")],
    ),
    "junk": (
        [A, b"junk between\r\n\r\n", C],
        [(0, "A"), (0, "what follows the record here is none: Invalid WARC header"), (2, "C")],
    ),
    "cut": ([A, C[:-40]], [(0, "A"), (1, "cut short: 170 of 206 bytes")]),
    "no HTTP": (
        [changed(A, b"HTTP/1.1 200 OK", b"nothing of it!!"), C],
        [(0, "a response without HTTP's first line"), (1, "C")],
    ),
    "damaged member": (
        [gzip.compress(A), PACKED_B[:60] + b"\xff\xff" + PACKED_B[62:], gzip.compress(C)],
        [(0, "A"), (1, "Gzip decompression error: data error"), (2, "C")],
    ),
    "cut member": (
        [gzip.compress(A), PACKED_B[:60], gzip.compress(C)],
        [(0, "A"), (1, "Gzip decompression error: data error"), (2, "C")],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_told_with_its_offset_and_the_rest_is_read(tmp_path, name):
    parts, expected = BROKEN[name]
    offsets = [sum(map(len, parts[:index])) for index in range(len(parts))]
    assert told(read(tmp_path, b"".join(parts))) == [(offsets[index], words) for index, words in expected]


def test_a_page_that_is_too_large_is_told_and_never_held(tmp_path, monkeypatch):
    monkeypatch.setattr(warc, "MAX_PAGE", 1000)
    large = record("https://www.wikihow.com/B", b"x" * 10**6)
    found = read(tmp_path, gzip.compress(A) + gzip.compress(large) + gzip.compress(C))
    assert [words for _, words in told(found)] == ["A", "a page of more than 1,000 bytes", "C"]


def test_what_http_encoded_is_decoded(tmp_path):
    packed = record("https://x.org/z", gzip.compress(b"<p>hello"), more="Content-Encoding: gzip\r\n")
    chunked = record("https://x.org/c", b"5\r\nhello\r\n0\r\n\r\n", more="Transfer-Encoding: chunked\r\n")
    assert [f.body for f in read(tmp_path, packed + chunked)] == [b"<p>hello", b"hello"]


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>"])
def test_a_file_that_is_no_warc_is_told(tmp_path, content):
    with pytest.raises(DumpError, match=r"crawl\.warc begins with .*, which no WARC file does; fetch it again"):
        read(tmp_path, content)


def test_the_articles_of_a_crawl_are_candidates_and_its_other_pages_are_counted(tmp_path):
    at = "https://www.wikihow.com"
    parts = [
        record(f"{at}/Boil-an-Egg?x=1", OF_2023.encode()),
        record(f"{at}/Boil-an-Egg", OF_2014.encode()),
        record(f"{at}/Category:Eggs", b"<html>"),
        record(f"{at}/Gone", b"<html>", status="404 Not Found"),
        record(f"{at}/Moved", b"", status="301 Moved Permanently"),
        record(f"{at}/egg.png", b"png", kind="image/png"),
        record("https://example.org/Boil", OF_2014.encode()),
        record(f"{at}/Empty", b""),
        record(f"{at}/Again", b"", of="revisit"),
    ]
    (tmp_path / "crawl.warc.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    tally = ReadStats()
    article, *rest = reader.read(tmp_path, source="wikihow", license="CC BY-NC-SA 3.0", tally=tally)
    assert isinstance(article, Candidate)
    assert (article.id, article.provenance.url) == ("wikihow/Food and Entertaining/Boil-an-Egg", f"{at}/Boil-an-Egg")
    assert [(row.reason, row.detail) for row in rest] == [
        ("duplicate", "wikihow/Food and Entertaining/Boil-an-Egg came before"),
        ("no_article", f"a page of Category: {at}/Category:Eggs"),
        ("no_article", f"an error response, status 404: {at}/Gone"),
        ("no_article", f"a redirect, status 301: {at}/Moved"),
        ("no_article", f"image/png is not HTML: {at}/egg.png"),
        ("no_article", "another site, example.org"),
        ("bad_row", "there is no element in it"),
        ("no_article", f"a revisit, whose page is another record's: {at}/Again"),
    ]
    offsets = [sum(len(gzip.compress(part)) for part in parts[:index]) for index in range(1, len(parts))]
    assert [row.place for row in rest] == [f"{tmp_path}/crawl.warc.gz@{offset}" for offset in offsets]
    assert tally == ReadStats(rows=9, questions=2, answers=2)
    assert detection.detect(tmp_path) == "wikihow"


PIECES = st.sampled_from(
    [A, B, A[:200], B[90:], b"WARC/1.0\r\n", b"\r\n\r\n", PACKED_B, PACKED_B[:50], b"\x1f\x8b\x08"]
)


@given(st.lists(PIECES | st.binary(max_size=30), max_size=8))
def test_whatever_a_warc_file_holds_each_record_is_a_row_or_the_file_is_none(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("any")
    (folder / "any.warc").write_bytes(b"".join(pieces))
    tally = ReadStats()
    try:
        rows = list(reader.read(folder, source="wikihow", license="", tally=tally))
    except DumpError as error:
        assert "any.warc begins with" in str(error)
    else:
        assert len(rows) == tally.rows
