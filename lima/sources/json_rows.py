"""JSON rows, one per line or all in one array, validated against the schema of their source."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from lima.sources import lines as whole_lines
from lima.sources.base import DumpError


class JsonRow(BaseModel):
    """The fields of a published row that a reader uses; other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


R = TypeVar("R", bound=BaseModel)


class RowError(ValueError):
    """An invalid row; its reader adds the place."""


class CutLine(bytes):
    """The head of a line that is longer than MAX_LINE: `loads` refuses it, so that it is a bad row."""

    length: int  # bytes of the line

    def __new__(cls, head: bytes, *, length: int) -> Self:
        line = super().__new__(cls, head)
        line.length = length
        return line


def lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each line of a file, without its end, and its place, FILE:LINE counted from 1. Raises DumpError"""
    for part in whole_lines.read(path):
        if isinstance(part, whole_lines.OverlongLine):
            yield f"{path}:{part.number}", CutLine(part.head, length=part.length)
            continue
        for number, line in whole_lines.each(part):
            yield f"{path}:{number}", line


def values(path: Path) -> Iterator[tuple[str, object]]:
    """Each row of JSON lines, or of a JSON array, after its place, FILE:ROW. Raises DumpError"""
    place = str(path)
    try:
        if path.suffix.lower() == ".json":
            whole = loads(path.read_bytes())
            rows = whole if isinstance(whole, list) else [whole]
            yield from ((f"{path}:{number}", row) for number, row in enumerate(rows, start=1))
            return
        for place, line in lines(path):
            if line.strip():
                yield place, loads(line)
    except RowError as error:
        raise DumpError(f"{place} cannot be read: {error}; correct it, or fetch it again") from error


def loads(raw: bytes) -> object:
    """Parse JSON. Truncated JSON, text that is not UTF-8 and too deep nesting raise RowError."""
    if isinstance(raw, CutLine):
        raise RowError(f"a line of {raw.length:,} bytes, at most {whole_lines.MAX_LINE:,}")
    try:
        return orjson.loads(raw.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise RowError(f"no JSON: {error}") from error


def check(value: object, schema: type[R]) -> R:
    """The row that a value is. Raises RowError"""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise RowError(reason(error)) from error


def reason(error: ValidationError) -> str:
    """List each missing or wrong field with its value."""
    return "; ".join(_words(e["loc"], e["msg"], e["input"]) for e in error.errors())


def canonical(value: object) -> bytes:
    """The bytes that stand for a row which has none of its own, being part of a larger document."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _words(place: tuple[int | str, ...], message: str, found: object) -> str:
    key = ".".join(map(str, place))
    shown = "" if isinstance(found, dict | list) else f", not {found!r:.60}"
    return f"{key}: {message}{shown}" if key else f"{message}{shown}"
