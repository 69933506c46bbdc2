"""Pages out of WARC files, plain or with each record compressed by itself, as Common Crawl publishes them.

The library stops at the first record that it cannot parse. Here such a record is reported with its offset, and reading
continues at the next place in the file that looks like a record's beginning. Nothing larger than a page is held.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from lima.sources.base import DumpError

SUFFIXES = (".warc", ".warc.gz")
MAX_PAGE = 2**23  # bytes; an article takes a third of a million
MAX_HEADER = 2**16  # bytes of a record's, and of HTTP's
CHUNK = 2**20  # bytes in which a beginning is looked for at a time
PAGES = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.revisit
# what a record begins with
REVISIT = "warc/revisit"  # the kind of a record whose page is another record's
COMPRESSED, PLAIN = b"\x1f\x8b\x08", b"WARC/1."


class WarcResponse(NamedTuple):
    offset: int  # of the record in the file, bytes
    url: str
    status: int | None  # of HTTP; None where the record holds the page alone
    kind: str  # its content type, in small letters
    body: bytes


class BrokenRecord(NamedTuple):
    offset: int
    reason: str
    cut: bool = False  # it reaches into what comes after it


def read(path: Path) -> Iterator[WarcResponse | BrokenRecord]:
    """Each page that the crawl received; its requests and notes are passed. Raises DumpError if there is no record."""
    with path.open("rb") as file:
        head = file.read(len(PLAIN))
        marker = COMPRESSED if head.startswith(COMPRESSED) else PLAIN
        if not head.startswith(marker):
            raise DumpError(f"{path} begins with {head!r}, which no WARC file does; fetch it again, or take it away")
        yield from _records(file, marker)


def _records(file: BinaryIO, marker: bytes) -> Iterator[WarcResponse | BrokenRecord]:
    start: int | None = 0
    lost = None  # the fault reported behind a good record, unless the next record is broken itself
    while start is not None:
        last, whole, reported = start, False, False  # offset of the record; read to its end; reported as broken
        file.seek(start)
        try:
            for record in ArchiveIterator(file, parse_http=False, max_header_len=MAX_HEADER):
                last, whole = record.stream_pos, False
                if lost:
                    yield lost
                    lost = None
                found = _response(record, last) if record.record_type & PAGES else None
                if found:
                    yield found
                reported = isinstance(found, BrokenRecord)
                if isinstance(found, BrokenRecord) and found.cut:
                    break
                whole = True
            else:
                return
        except (OSError, ValueError) as error:
            if whole and reported:
                lost = None
            elif whole:
                lost = BrokenRecord(last, f"what follows the record here is none: {error}")
            else:
                lost = None
                yield BrokenRecord(last, str(error))
        start = _next(file, last + 1, marker)
    if lost:
        yield lost


def _response(record: WarcRecord, offset: int) -> WarcResponse | BrokenRecord:
    address = str(record.headers.get("WARC-Target-URI", "")).strip("<> ")
    if record.record_type == WarcRecordType.revisit:
        return WarcResponse(offset, address, None, REVISIT, b"")
    if record.record_type == WarcRecordType.response:
        record.parse_http(auto_decode="all")
    http, length = record.http_headers, record.content_length
    if record.record_type == WarcRecordType.response and not (http and http.status_code):
        return BrokenRecord(offset, "a response without HTTP's first line")
    body = record.reader.read(MAX_PAGE + 1)
    if len(body) > MAX_PAGE:
        return BrokenRecord(offset, f"a page of more than {MAX_PAGE:,} bytes")
    headers = http or record.headers
    encoded = {"content-encoding", "transfer-encoding"} & {name.lower() for name in headers.asdict()}
    if len(body) < length and not encoded:
        return BrokenRecord(offset, f"cut short: {len(body):,} of {length:,} bytes", cut=True)
    kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return WarcResponse(offset, address, http.status_code if http else None, kind, body)


def _next(file: BinaryIO, start: int, marker: bytes) -> int | None:
    """Where the marker comes next, from `start` on."""
    file.seek(start)
    at, kept = start, b""
    while chunk := file.read(CHUNK):
        text = kept + chunk
        if (found := text.find(marker)) >= 0:
            return at - len(kept) + found
        kept, at = text[-(len(marker) - 1) :], at + len(chunk)
    return None
