"""Files of one JSON record a line, read with the place of every error and written whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lima.errors import LimaError
from lima.records import Record

R = TypeVar("R", bound=Record)


class MalformedLine(LimaError):
    """A line that is no such record; says which file, which line and why."""


def read(path: Path, kind: type[R]) -> Iterator[R]:
    if not path.exists():
        raise LimaError(f"there is no {path}; the stage that writes it has not run")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield kind.model_validate_json(line)
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
