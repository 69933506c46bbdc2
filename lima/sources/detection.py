"""Format detection: the reader of a dump by its content. Only `lima inspect` needs it; stages read params.yaml."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from lima import reader_names
from lima.sources import chat_layouts as layouts
from lima.sources import containers, json_rows, lines, registry
from lima.sources.base import DumpError, files
from lima.sources.json_rows import RowError
from lima.sources.lines import Lines
from lima.sources.stack_exchange.reader.archive import POSTS

# keys that identify a JSON record; the first match counts, and layouts of chat rows are tried before Reddit's
SHAPES = (
    ({"Definition", "Instances"}, "natural_instructions"),
    ({"id", "group", "family", "expects"}, "adversarial"),
    ({"id", "group", "messages"}, "authored"),
)
SEVEN_ZIP, ZSTANDARD, BOM = b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
FIRST = 100  # rows of a compressed file or a table that are examined
LISTED = 4  # endings of files in a message
HEAD = 1 << 16  # bytes at the start of a file that are examined
FORMATS = (
    "Stack Exchange: an archive (.7z), or a folder with Posts.xml",
    "wikiHow: saved pages (.html), or a crawl of them (.warc, .warc.gz)",
    "Reddit: .zst files, or JSON lines with `subreddit`",
    "Super-Natural Instructions: JSON tasks with `Definition` and `Instances`",
    "chat rows: JSON lines, JSON, CSV, Parquet or Arrow, also .gz or .zst, with `messages`, `conversations`, "
    "`instruction` and `output`, `prompt` and `response` or `completion`, `chosen`, or OASST's trees",
    "hand-written examples: JSON lines with `id`, `group` and `messages`",
    "adversarial prompts: JSON lines with `id`, `group`, `family` and `expects`",
)


def detect(path: Path) -> str:
    """Return the reader for a file, or for a folder by its first file with a known format. Raises DumpError."""
    found = [file for file in files(path, ("",)) if path.is_file() or not containers.is_metadata(file)]
    for file in found:
        if name := _plugin(file) or _kind(file):
            return name
    if not any(file.stat().st_size for file in found):
        raise DumpError(f"{path} is empty; fetch it again, or take it away")
    problem = (_torn(found[0]) if found else "") or next(filter(None, map(_unknown, found)), "")
    if problem:
        raise DumpError(f"{path} is in no known format: {problem}")
    raise DumpError("\n  ".join([f"{path} is in no known format: {_endings(found)}; the known formats are", *FORMATS]))


def _endings(found: list[Path]) -> str:
    """The number of files per ending, most frequent first."""
    counts = Counter(file.suffix.lower() or "without an ending" for file in found)
    shown = [f"{count} × {ending}" for ending, count in counts.most_common(LISTED)]
    return ", ".join(shown) + (", …" if len(counts) > LISTED else "")


def _plugin(file: Path) -> str | None:
    """The reader of another package that recognizes a file."""
    for name in sorted(reader_names.plugins()):
        recognizes = getattr(registry.source(name), "recognizes", None)
        if recognizes is not None and recognizes(file):
            return name
    return None


def _kind(file: Path) -> str | None:
    """Return the built-in reader of a file. A damaged file is detected by its name, so that its reader reports it."""
    with file.open("rb") as opened:
        head = opened.read(HEAD).removeprefix(BOM).lstrip()
    name = file.name.lower()
    if name.endswith((".7z", POSTS.lower())) or head.startswith(SEVEN_ZIP) or re.search(rb"<posts\b", head):
        return "stack_exchange"
    if name.endswith((".warc", ".warc.gz")) or head.startswith(b"WARC/"):
        return "wikihow"
    if name.endswith(".zst") or head.startswith(ZSTANDARD):
        return _row_kind(file) or "reddit"
    if (name.endswith(containers.SUFFIXES) and containers.is_packed(file)) or head.startswith(b"PAR1"):
        return _row_kind(file)
    if re.match(rb"<!doctype html|<html", head, re.IGNORECASE):
        return "wikihow" if b"wikihow" in head.lower() else None
    if head.startswith((b"{", b"[")):
        return next((kind for record in _records(file, head) if (kind := _shape(record))), None)
    return None


def _row_kind(file: Path) -> str | None:
    """Return the reader of a compressed file or a table by its first rows."""
    kinds = (_shape(row.value) for row in islice(containers.rows(file), FIRST))
    with suppress(DumpError):
        return next(filter(None, kinds), None)
    return None


def _unknown(file: Path) -> str:
    """Describe the rows of a file that no reader accepts, or the damage of the file; "" without rows."""
    if not file.name.lower().endswith(containers.SUFFIXES):
        return ""
    try:
        values = [row.value for row in islice(containers.rows(file), FIRST) if isinstance(row.value, dict)]
    except DumpError as error:
        return str(error)
    return f"{file} has {layouts.keys(values)}; {layouts.WAY_OUT}" if values else ""


def _records(file: Path, head: bytes) -> Iterator[Any]:
    """Yield the JSON values of a file: of each valid line, then of the whole; of an array only the first item."""
    if head.startswith(b"{"):
        for part in lines.read(file):
            for _, line in lines.each(part) if isinstance(part, Lines) else ():
                with suppress(RowError):
                    yield json_rows.loads(line)
    with suppress(RowError):
        value = json_rows.loads(file.read_bytes())
        yield value[0] if isinstance(value, list) and value else value


def _torn(file: Path) -> str:
    """Return the error in the first line of a file that begins as JSON but is invalid, whole and by lines."""
    raw = file.read_bytes()
    if not raw.startswith((b"{", b"[")):
        return ""
    try:
        with suppress(RowError):
            json_rows.loads(raw)
            return ""
        json_rows.loads(raw.partition(b"\n")[0])
    except RowError as error:
        return f"{file}:1 is {error}; correct the row, or fetch the file again"
    return ""


def _shape(record: object) -> str | None:
    if not isinstance(record, dict):
        return None
    nested = record.get("kind") in ("t1", "t3") and isinstance(record.get("data"), dict)  # as Reddit's API
    row = record["data"] if nested else record
    name = next((name for keys, name in SHAPES if keys <= row.keys()), None)
    if name or (layout := layouts.of(row)) is None:
        return name or ("reddit" if "subreddit" in row else None)
    if layout == layouts.LIMA or (layout == layouts.ALPACA and "history" in row):
        return "released_lima"
    return "alpaca" if layout == layouts.ALPACA else "chat"
