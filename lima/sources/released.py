"""Sets that were released by others: LIMA's own 1,030 examples and 300 prompts, and Alpaca's (LIMA §2, §4).

LIMA is read as published, a JSON object a line whose `conversations` are turns in alternation, and in the form that
trainers pass around, a JSON array of `instruction`, `input`, `output` and `history`. The latter has no source field; in
files of LIMA's size the place in the array tells it. Alpaca is an array of `instruction`, `input` and `output`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lima.records import Candidate, Dropped, Provenance, Turn
from lima.sources import json_rows
from lima.sources.json_rows import Row, RowError
from lima.sources.reading import UNNAMED, DumpError, Early, Piece, Tally, bad_row, below, digest, files

UNTOLD = "unknown"  # the site of an example whose file does not tell its source

# The order of LIMA's training file: where each source begins.
STARTS = (0, 400, 600, 800, 850, 1000)
SITES = ("stackexchange", "authors", "wikihow", "natural_instructions", "pushshift_r_writing_prompts", "multi_turn")
EXAMPLES = 1030
MISSING = 1021  # the one example that the converted file of 1,029 lacks

Text = Annotated[str, Field(min_length=1)]


class Conversation(Row):
    """A line as published; the test file writes its prompts as plain strings."""

    conversations: Annotated[
        list[Text], Field(min_length=1), BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
    ]
    source: str = UNTOLD


class Instruction(Row):
    """An element of an array: the last exchange, and those before it."""

    instruction: Text
    input: str = ""
    output: str
    history: list[Annotated[list[Text], Field(min_length=2, max_length=2)]] = Field(default=[])

    def turns(self) -> list[str]:
        prompt = f"{self.instruction}\n\n{self.input}" if self.input else self.instruction
        return [turn for exchange in self.history for turn in exchange] + [prompt, self.output]


Parse = Callable[[Any, int, int], tuple[list[str], str, int]]  # value, index, rows → turns, site, index in the original


def read_lima(
    dumps: Path, *, source: str, licence: str, tally: Tally, early: Early | None = None, root: Path | None = None
) -> Iterator[Candidate | Dropped]:
    yield from _read(dumps, root or dumps, _lima, _provenance(source, licence), tally)


def read_alpaca(
    dumps: Path, *, source: str, licence: str, tally: Tally, early: Early | None = None, root: Path | None = None
) -> Iterator[Candidate | Dropped]:
    yield from _read(dumps, root or dumps, _alpaca, _provenance(source, licence), tally)


def pieces(dumps: Path) -> list[Piece]:
    """Each file by itself."""
    return [Piece(path) for path in files(dumps, (".json", ".jsonl"))]


def _lima(value: Any, index: int, rows: int) -> tuple[list[str], str, int]:
    if isinstance(value, dict) and "conversations" in value:
        row = json_rows.check(value, Conversation)
        return row.conversations, row.source, index
    turns = json_rows.check(value, Instruction).turns()
    if rows not in (EXAMPLES - 1, EXAMPLES):
        return turns, UNTOLD, index
    original = index + (rows < EXAMPLES and index >= MISSING)
    return turns, SITES[bisect_right(STARTS, original) - 1], original


def _alpaca(value: Any, index: int, rows: int) -> tuple[list[str], str, int]:
    return json_rows.check(value, Instruction).turns(), "alpaca", index


def _provenance(source: str, licence: str) -> Provenance:
    """What all rows share. A layout names no author: many sets by other people have the layout of LIMA or Alpaca."""
    return Provenance(source=source, site="", id="", url="", author=UNNAMED, licence=licence, digest="")


def _read(dumps: Path, root: Path, parse: Parse, about: Provenance, tally: Tally) -> Iterator[Candidate | Dropped]:
    for path in files(dumps, (".jsonl", ".json")):
        rows = list(_rows(path))
        for index, (place, raw) in enumerate(rows):
            tally.rows += 1
            try:
                turns, site, original = parse(json_rows.loads(raw), index, len(rows))
            except RowError as error:
                yield bad_row(place, str(error), raw)
                continue
            tally.questions += 1
            tally.answers += len(turns) > 1
            own = f"{below(path, root)}-{original}"
            provenance = about.model_copy(update={"site": site, "id": own, "digest": digest(raw)})
            yield _candidate(turns, provenance)


def _rows(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a file, or the elements of the one array it holds, each with its place, counted from 1."""
    raw = path.read_bytes()
    if not raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from json_rows.lines(path)
        return
    try:
        values = json_rows.loads(raw)
    except RowError as error:
        raise DumpError(f"{path} is {error}; fetch it again") from error
    for number, value in enumerate(values, start=1):
        yield f"{path}:{number}", json_rows.canonical(value)


def _candidate(turns: list[str], provenance: Provenance) -> Candidate:
    later = [Turn(role="assistant" if number % 2 else "user", content=text) for number, text in enumerate(turns[2:])]
    return Candidate(
        id=f"{provenance.source}/{provenance.site}/{provenance.id}",
        title=turns[0],
        description="",
        response=turns[1] if len(turns) > 1 else "",
        later_turns=tuple(later),
        markup="markdown",
        score=None,
        response_score=None,
        tags=(),
        provenance=provenance,
    )
