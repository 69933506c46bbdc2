"""Hand-written JSONL: one dialogue per line, with an id that never changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from lima.constraint_types import Constraint
from lima.records import Candidate, Dropped, Provenance, Record, Turn
from lima.sources import json_rows
from lima.sources.base import ReadStats, Shard, bad_row, files


class Written(Record):
    """One line; a reader adds its own fields."""

    id: str = Field(min_length=1)  # never changes, even if the text does
    messages: tuple[Turn, ...] = Field(min_length=1)
    constraints: tuple[Constraint, ...] = ()  # verifiable instructions that the prompt contains


W = TypeVar("W", bound=Written)


def rows(dumps: Path, schema: type[W], *, tally: ReadStats) -> Iterator[tuple[str, W, bytes] | Dropped]:
    """Yield the place, record and bytes of each line; ids are unique over the files of a dump."""
    places: dict[str, str] = {}
    for path in files(dumps, (".jsonl",)):
        for place, line in json_rows.lines(path):
            tally.rows += 1
            try:
                row = schema.model_validate_json(line)
            except ValidationError as error:
                yield bad_row(place, json_rows.reason(error), line)
                continue
            if row.id in places:
                yield bad_row(place, f"id: {row.id} occurs already at {places[row.id]}; ids are unique", line)
                continue
            places[row.id] = place
            yield place, row, line


def pieces(dumps: Path) -> list[Shard]:
    """One shard: ids are unique over all files."""
    return [Shard(dumps, tuple(files(dumps, (".jsonl",))))]


def candidate(row: Written, *, tags: tuple[str, ...], provenance: Provenance) -> Candidate:
    """Return the candidate of a line: the system turn, the first exchange or a prompt alone, and the later turns.

    All turns of a scripted dialogue but the first are later turns.
    """
    system = row.messages[0].content if row.messages[0].role == "system" else ""
    first, *later = row.messages[bool(system) :]
    answered = bool(later) and later[0].role == "assistant"
    return Candidate(
        id=f"{provenance.source}/{provenance.site}/{provenance.id}",
        title=first.content,
        description="",
        response=later[0].content if answered else "",
        later_turns=tuple(later[answered:]),
        markup="markdown",
        score=None,
        response_score=None,
        tags=tags,
        provenance=provenance,
        system=system,
        constraints=row.constraints,
    )
