"""Files of one JSON record a line, read with the place of every error and written whole or not at all."""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from lima.errors import LimaError
from lima.records import Record

R = TypeVar("R", bound=Record)
ID = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*")')  # as `write` begins the line of a record with an id


class MalformedLine(LimaError):
    """A line that is no such record; says which file, which line and why."""


def read(path: Path, kind: type[R]) -> Iterator[R]:
    for number, line in _lines(path):
        yield _record(path, number, line, kind)


def pick(path: Path, kind: type[R], ids: Collection[str]) -> Iterator[R]:
    """The records that have one of these ids, in the file's order; the other lines are passed over undecoded."""
    wanted = {to_json(id_) for id_ in ids}
    for number, line in _lines(path):
        if (found := ID.match(line)) and found[1] in wanted:
            yield _record(path, number, line, kind)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        raise LimaError(f"there is no {path}; the stage that writes it has not run")
    with path.open("rb") as lines:
        yield from enumerate(lines, start=1)


def _record(path: Path, number: int, line: bytes, kind: type[R]) -> R:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        reason = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the line'}: {e['msg']}" for e in error.errors())
        raise MalformedLine(f"{path}:{number} is no {kind.__name__}: {reason}") from error


def write(path: Path, records: Iterable[Record]) -> int:
    """The number of lines written. Until the last one is on disk, an older file stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    count = 0
    with unfinished.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(record.model_dump_json() + "\n")
            count += 1
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)
    return count
