"""JSON Lines files: validated reading with the location of every error, and atomic writing.

Readers skip blank lines. A file that is a dependency of a stage has one blank line if it has no records, because DVC
warns of an empty file at every command.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from lima.errors import LimaError
from lima.records import Record

R = TypeVar("R", bound=Record)
JsonObject = Mapping[str, Any]  # of another program's file: code checks the values that it reads
NO_RECORDS = "\n"  # content of a dependency without records
ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*")')  # `write` puts the id first


class MalformedLine(LimaError):
    """A line is not a valid record. The message names the file, the line and the reason."""


def read(path: Path, kind: type[R]) -> Iterator[R]:
    """Read the records of a file, lazily.

    Raises:
        LimaError: the file does not exist.
        MalformedLine: a line is not a valid record.
    """
    for number, line in lines(path):
        yield _record(path, number, line, kind)


def read_range(path: Path, kind: type[R], *, start: int, stop: int, number: int) -> Iterator[R]:
    """Read the records of the lines from byte `start` to byte `stop`, of which the first has the given number."""
    with path.open("rb") as file:
        file.seek(start)
        while start < stop:
            line = file.readline()
            if not line.isspace():
                yield _record(path, number, line, kind)
            start, number = start + len(line), number + 1


def pick(path: Path, kind: type[R], ids: Collection[str]) -> Iterator[R]:
    """Read the records with the given ids, in file order; other lines are not decoded."""
    wanted = {to_json(id_) for id_ in ids}
    for number, line in lines(path):
        if (match := ID.match(line)) and match[1] in wanted:
            yield _record(path, number, line, kind)


def writer(path: Path) -> str:
    """Name the command that writes a result, data/STAGE/KEY/FILE, or data/STAGE/FILE of a stage without keys."""
    match path.parts:
        case ("data", stage, _):
            return f"run `dvc repro {stage}`"
        case ("data", stage, key, *_):
            return f"run `dvc repro {stage}@{key}`"
    return "correct the path, or run the stage that writes it"


def lines(path: Path, *, blank: bool = False) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a file with their numbers, blank ones only if `blank`.

    Raises:
        LimaError: the file does not exist.
    """
    if not path.exists():
        raise LimaError(f"{path} not found; {writer(path)}")
    with path.open("rb") as file:
        yield from ((number, line) for number, line in enumerate(file, start=1) if blank or not line.isspace())


def _record(path: Path, number: int, line: bytes, kind: type[R]) -> R:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        reason = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the line'}: {e['msg']}" for e in error.errors())
        raise MalformedLine(f"{path}:{number} is not a valid {kind.__name__}: {reason}") from error


def create(path: Path) -> None:
    """Create a file without records, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(NO_RECORDS, encoding="utf-8")


def write(path: Path, records: Iterable[Record], *, is_dependency: bool = False) -> int:
    """Write records to a file atomically: an existing file is replaced only after all lines are on disk.

    Args:
        is_dependency: of a stage; without records the file gets a blank line.

    Returns:
        The number of records.
    """
    encoded = (record.model_dump_json().encode() + b"\n" for record in records)
    return write_lines(path, encoded, is_dependency=is_dependency)


def write_lines(path: Path, encoded: Iterable[bytes], *, is_dependency: bool = False) -> int:
    """Write lines to a file as `write` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    count = 0
    with unfinished.open("wb") as out:
        for line in encoded:
            out.write(line)
            count += 1
        if is_dependency and not count:
            out.write(NO_RECORDS.encode())
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)
    return count


def objects(path: Path) -> list[JsonObject]:
    """Read the objects of a file of another program: one JSON array, or one object per line.

    Raises:
        LimaError: the file does not exist.
        MalformedLine: the file has anything else.
    """
    if not path.exists():
        raise LimaError(f"{path} not found; correct the path")
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if text.lstrip()[:1] == b"[":
        rows = [(1, _parsed(path, 1, text))]
        if isinstance(rows[0][1], list):
            rows = [(number, row) for number, row in enumerate(rows[0][1], start=1)]
    else:
        rows = [(n, _parsed(path, n, line)) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    values: list[JsonObject] = []
    for number, row in rows:
        if not isinstance(row, dict):
            raise MalformedLine(f"{path}: item {number} is not a JSON object; the file needs one object per answer")
        values.append(row)
    return values


def _parsed(path: Path, number: int, text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise MalformedLine(f"{path}:{number} is not JSON: {error}; correct the file") from error
