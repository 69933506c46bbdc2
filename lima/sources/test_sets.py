"""Public test sets as they are published, which no arm may train on: JSON lines, a JSON array, or CSV with a head.

A row tells its prompt under one of a few names: text, prompt, instruction (and what it is to work on: input, or the
inputs of instances), question, or the user's turns of a conversation.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lima.sources import json_rows
from lima.sources.reading import DumpError, files

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
PROMPTS = ("prompt", "instruction", "question", "text", "goal", "turns", "conversations", "conversation", "messages")
INPUTS = ("input", "context")
USERS = ("user", "human", "prompter")


def read(path: Path) -> Iterator[tuple[str, str]]:
    """Each prompt of a file, or of every file below a folder, after its place, FILE:ROW. Raises DumpError"""
    for file in files(path, SUFFIXES):
        for place, row in _rows(file):
            texts = [text for text in _prompts(row) if text.strip()]
            if not texts:
                keys = f"keys {', '.join(map(str, row))}" if isinstance(row, dict) else type(row).__name__
                raise DumpError(
                    f"{place} tells no prompt ({keys}); name it {', '.join(PROMPTS[:4])} or messages, "
                    "or take the file out of params.yaml's mix.test_sets"
                )
            yield from ((place, text) for text in texts)


def _rows(file: Path) -> Iterator[tuple[str, Any]]:
    if file.suffix.lower() != ".csv":
        yield from json_rows.values(file)
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from ((f"{file}:{number}", row) for number, row in enumerate(csv.DictReader(lines), start=2))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DumpError(f"{file} cannot be read: {error}; mend it, or fetch it again") from error


def _prompts(row: Any) -> Iterator[str]:
    if isinstance(row, str):
        yield row
    elif isinstance(row, dict):
        name = next((name for name in PROMPTS if row.get(name)), None)
        if name:
            yield from _turns(row[name], answered=name != "turns")
            yield from (row[name] for name in INPUTS if isinstance(row.get(name), str))
            for instance in row.get("instances") or ():
                yield from (instance[name] for name in INPUTS if isinstance(instance, dict) and instance.get(name))


def _turns(value: Any, *, answered: bool) -> Iterator[str]:
    """What the user says: of turns without a role, every second one where the assistant's stand between them."""
    turns = value if isinstance(value, list) else [value]
    for number, turn in enumerate(turns):
        if isinstance(turn, str) and (number % 2 == 0 or not answered):
            yield turn
        elif isinstance(turn, dict) and str(turn.get("role") or turn.get("from")).lower() in USERS:
            yield str(turn.get("content") or turn.get("value") or "")
