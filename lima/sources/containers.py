"""Rows of a data file in any common container: JSON lines, a JSON array, CSV, TSV, Parquet, Arrow, plain text.

JSON, CSV and text may be compressed (.gz, .zst). Files are read row by row; only a JSON array is held in memory whole.
A row that cannot be read is returned as a RowError, and the next row follows.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from lima.sources import base, json_rows, zst
from lima.sources import lines as whole_lines
from lima.sources.base import DumpError
from lima.sources.json_rows import RowError

COMPRESSED = (".gz", ".zst")
TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*TEXT, *(f"{text}{packed}" for text in TEXT for packed in COMPRESSED), ".parquet", ".arrow")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
# metadata that `datasets` and its hub write next to the rows
METADATA = frozenset(("state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"))
CACHE = "cache-"  # how the names of files begin in which `datasets` keeps intermediate results
BATCH = 1000  # rows of Parquet that are decoded at a time


class RawRow(NamedTuple):
    place: str  # FILE:ROW, counted from 1; the header of a CSV file is row 1
    raw: bytes
    value: object  # a RowError if the row cannot be read


def files(dumps: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Return the file, or the data files below a folder, sorted. Raises DumpError."""
    found = base.files(dumps, suffixes)
    if dumps.is_dir():
        found = [path for path in found if not is_metadata(path)]
        if not found:
            raise DumpError(f"{dumps} has no file with rows, only metadata; add the data files, or correct the path")
    return found


def is_metadata(path: Path) -> bool:
    """Whether `datasets` writes a file of that name as metadata."""
    return path.name in METADATA or path.name.startswith(CACHE)


def suffix(path: Path) -> str:
    """The ending that names the container, in lower case, without that of its compression: ".jsonl" of a.jsonl.gz."""
    names = [name for name in path.suffixes if name.lower() not in COMPRESSED]
    return names[-1].lower() if names else ""


def is_packed(path: Path) -> bool:
    """Whether the rows are not plain JSON: in a table, or compressed."""
    return suffix(path) not in (".jsonl", ".ndjson", ".json") or path.suffix.lower() in COMPRESSED


def rows(path: Path) -> Iterator[RawRow]:
    """Yield each row that is not blank. Raises DumpError if the file as a whole cannot be read."""
    ending = suffix(path)
    with path.open("rb") as file:
        magic = file.read(6)
    if ending == ".parquet" or magic.startswith(b"PAR1"):
        yield from _arrow_rows(path, _parquet(path))
    elif ending == ".arrow" or magic == b"ARROW1":
        yield from _arrow_rows(path, _arrow(path, footer=magic == b"ARROW1"))
    else:
        try:
            yield from _text_rows(path, ending)
        except zst.Damaged as error:
            raise DumpError(f"{path} is cut short or damaged ({error}); fetch it again") from error


def _text_rows(path: Path, ending: str) -> Iterator[RawRow]:
    if ending in DELIMITERS:
        yield from _table(path, DELIMITERS[ending])
    elif ending == ".txt":
        yield from _texts(path)
    elif (head := _head(path)).startswith(b"["):
        yield from _array(path)
    elif ending == ".json" and not _is_json(head.partition(b"\n")[0]):
        yield from _whole(path)
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[RawRow]:
    for part in whole_lines.read(path):
        if isinstance(part, whole_lines.OverlongLine):
            error = RowError(f"a line of {part.length:,} bytes, at most {whole_lines.MAX_LINE:,}")
            yield RawRow(f"{path}:{part.number}", part.head, error)
            continue
        for number, line in whole_lines.each(part):
            if line.strip():
                yield RawRow(f"{path}:{number}", line, _value(line))


def _array(path: Path) -> Iterator[RawRow]:
    try:
        values = json_rows.loads(_bytes(path))
    except RowError as error:
        raise DumpError(f"{path} is {error}; fetch it again") from error
    assert isinstance(values, list)  # the file begins with a bracket
    for number, value in enumerate(values, start=1):
        raw = canonical(value)
        if len(raw) > whole_lines.MAX_LINE:
            value = RowError(f"a row of {len(raw):,} bytes, at most {whole_lines.MAX_LINE:,}")
            raw = raw[: whole_lines.HEAD]
        yield RawRow(f"{path}:{number}", raw, value)


def _whole(path: Path) -> Iterator[RawRow]:
    """A file that is one JSON object over several lines is one row; otherwise each line is one."""
    try:
        value = json_rows.loads(_bytes(path))
    except RowError:
        yield from _lines(path)
    else:
        yield RawRow(f"{path}:1", canonical(value), value)


def _texts(path: Path) -> Iterator[RawRow]:
    for row in _lines(path):
        try:
            yield row._replace(value=row.raw.decode("utf-8-sig").strip())
        except UnicodeDecodeError as error:
            yield row._replace(value=RowError(f"no text in UTF-8: {error}; save the file as UTF-8"))


def _table(path: Path, delimiter: str) -> Iterator[RawRow]:
    """The rows below a header; bytes that are not UTF-8 make one row bad, not the file."""
    csv.field_size_limit(whole_lines.MAX_LINE)
    stream = io.BufferedReader(_Blocks(path))
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        table = csv.DictReader(text, delimiter=delimiter, restkey="", restval=None)
        if table.fieldnames is None:
            raise DumpError(f"{path} is empty; fetch it again, or take it away")
        number = 1
        while True:
            number += 1
            try:
                cells = next(table)
            except StopIteration:
                return
            except csv.Error as error:
                yield RawRow(f"{path}:{number}", b"", RowError(f"no CSV: {error}"))
                continue
            yield _cells(f"{path}:{number}", cells, len(table.fieldnames))


def _cells(place: str, cells: dict[str, Any], width: int) -> RawRow:
    raw = repr(cells).encode()
    if None in cells.values():
        return RawRow(place, raw, RowError(f"fewer cells than the header's {width}"))
    if isinstance(cells.get(""), list):
        return RawRow(place, raw, RowError(f"more cells than the header's {width}"))
    try:
        return RawRow(place, canonical(cells), cells)
    except TypeError:  # of lone surrogates, which stand for other bytes
        return RawRow(place, raw, RowError("no text in UTF-8; save the file as UTF-8"))


def _arrow_rows(path: Path, batches: Iterator[Any]) -> Iterator[RawRow]:
    import pyarrow  # takes a fifth of a second, which only these files pay

    number = 0
    try:
        for batch in batches:
            for value in batch.to_pylist():
                number += 1
                yield RawRow(f"{path}:{number}", canonical(value), value)
    except (pyarrow.ArrowException, OSError) as error:
        where = f"after row {number}" if number else "at its start"
        raise DumpError(f"{path} is cut short or damaged {where} ({error}); fetch it again") from error


def _parquet(path: Path) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path if isinstance(path, Path) else path.open("rb")) as file:
        yield from file.iter_batches(batch_size=BATCH)


def _arrow(path: Path, *, footer: bool) -> Iterator[Any]:
    """Record batches of a stream, as save_to_disk writes it, or of a file with a footer."""
    import pyarrow

    with pyarrow.OSFile(str(path)) if isinstance(path, Path) else pyarrow.PythonFile(path.open("rb"), "r") as file:
        if footer:
            with pyarrow.ipc.open_file(file) as batches:
                yield from (batches.get_batch(number) for number in range(batches.num_record_batches))
        else:
            with pyarrow.ipc.open_stream(file) as batches:
                yield from batches


def canonical(value: object) -> bytes:
    """The bytes that stand for a row of a larger document; times and decimals as text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)


def _value(line: bytes) -> object:
    try:
        return json_rows.loads(line)
    except RowError as error:
        return error


def _is_json(line: bytes) -> bool:
    return not isinstance(_value(line), RowError)


def _head(path: Path) -> bytes:
    """The first block, without blanks and byte order mark at its start."""
    return next(whole_lines.blocks(path), b"").removeprefix(b"\xef\xbb\xbf").lstrip()


def _bytes(path: Path) -> bytes:
    return b"".join(whole_lines.blocks(path))


class _Blocks(io.RawIOBase):
    """The decompressed bytes of a file as a stream."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._blocks = whole_lines.blocks(path)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            if (block := next(self._blocks, None)) is None:
                return 0
            self._rest = block
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
