"""The first prompt of each row of a file, in any layout in which sets of prompts are commonly published.

JSON (an array) or JSONL: rows with `messages` or `conversations` (turns as objects or bare strings), `turns`, `prompt`,
or `instruction`, with `input`, or the first of `instances`, below it. Text: a prompt a line.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lima.sources import json_rows
from lima.sources.reading import DumpError


def read(path: Path) -> list[str]:
    """Raises DumpError where a row has no prompt, or the file none."""
    if not path.is_file():
        raise DumpError(f"there is no file {path}; name JSON, JSONL or text with a prompt a row")
    found = list(_prompts(path))
    if not found:
        raise DumpError(f"{path} has no prompts; it should be JSON, JSONL or text with a prompt a row")
    return found


def _prompts(path: Path) -> Iterator[str]:
    for place, row in _rows(path):
        text = row if isinstance(row, str) else _prompt(row)
        if text is None or not text.strip():
            raise DumpError(f"{place}: no prompt; a row has messages, conversations, turns, prompt or instruction")
        yield text.strip()


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix != ".txt":
        yield from json_rows.values(path)
        return
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DumpError(f"{path} is no text in UTF-8: {error}; save it as such") from error
    yield from ((f"{path}:{number}", line) for number, line in enumerate(texts, start=1) if line.strip())


def _prompt(row: object) -> str | None:
    if not isinstance(row, Mapping):
        return None
    for key in ("messages", "conversations", "turns", "prompt"):
        if key in row:
            return _first(row[key])
    if not isinstance(row.get("instruction"), str):
        return None
    instances = row.get("instances")
    given = instances[0] if isinstance(instances, list) and instances else row
    matter = given.get("input") if isinstance(given, Mapping) else None
    return "\n\n".join(part for part in (row["instruction"], matter) if isinstance(part, str) and part.strip())


def _first(value: object) -> str | None:
    """The words of the first turn."""
    if isinstance(value, list):
        return _first(value[0]) if value else None
    if isinstance(value, Mapping):
        return next((_first(value[key]) for key in ("content", "value", "text") if key in value), None)
    return value if isinstance(value, str) else None
