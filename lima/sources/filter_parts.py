"""Filter a file of candidates in parts, which several processes judge at a time (LIMA §2).

A part is a range of whole lines. Its outcomes are written to files in its own folder, so that neither the candidates
nor the dropped records are held in memory, and a part whose worker was killed is judged again. Near duplicates are
decided afterwards over all parts in order: the results do not depend on the number of workers or the size of parts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import NonNegativeInt, PositiveInt

from lima import jsonl
from lima.config.sections import Filter
from lima.curation import edits, hashing, reviews
from lima.curation.edits import EditsById
from lima.curation.filters import Accepted, FilterResults, accepted
from lima.records import Candidate, Dropped, Example, Prompt, Record
from lima.sources import rules
from lima.text.html_to_markdown import to_markdown, to_marked

DROPPED, KEPT, PROMPTS, UNFILTERED = "dropped.jsonl", "kept.jsonl", "prompts.jsonl", "unfiltered.jsonl"
REMEMBERED = 4  # conversions of texts: those of one candidate


class Part(Record):
    """A range of lines of a file of candidates, and what their outcomes depend on."""

    source: str
    reader: str
    settings: Filter
    candidates: str  # path of the file
    start: NonNegativeInt  # bytes
    stop: NonNegativeInt  # bytes
    line: PositiveInt  # number of the first line
    first: PositiveInt  # number of the first candidate
    edited: tuple[str, ...]  # ids with edits
    sampled: tuple[int, ...]  # numbers of the candidates that become unfiltered examples
    folder: str  # of the results


class Judged(Record):
    """The result of a part; its records are in its folder."""

    dropped: dict[str, PositiveInt]  # by reason


class Plan(NamedTuple):
    parts: list[Part]
    offered: int  # candidates
    sample: list[int]  # numbers of the candidates that become unfiltered examples, in their order


class _Candidate(NamedTuple):
    line: int  # number
    start: int  # bytes
    stop: int
    id: str
    site: str
    answered: bool


@dataclass
class _Range:
    start: int  # bytes
    stop: int
    line: int  # number of the first
    first: int  # number of the first candidate
    last: int = 0  # number of the last candidate
    edited: list[str] = field(default_factory=list)  # ids


def plan(
    candidates: Path, *, source: str, reader: str, settings: Filter, changes: EditsById, enough: int, folder: Path
) -> Plan:
    """Split a file into parts of about `enough` bytes, and sample the candidates of the unfiltered pool.

    Raises:
        LimaError: the file does not exist.
        EditError: an edit has no candidate.
    """
    together = rules.whole_sites(reader)
    reservoir = hashing.Reservoir[int](settings.unfiltered_reservoir, seed=settings.seed)
    pending = dict(changes)
    ranges: list[_Range] = []
    offered, site = 0, ""
    for offered, place in enumerate(_located(candidates), start=1):
        full = ranges and place.start - ranges[-1].start >= enough
        if not ranges or (full and not (together and place.site == site)):
            ranges.append(_Range(place.start, place.stop, place.line, offered))
        ranges[-1].stop, ranges[-1].last, site = place.stop, offered, place.site
        if pending.pop(place.id, None):
            ranges[-1].edited.append(place.id)
        if place.answered:
            reservoir.offer(place.id, offered)
    edits.require_none(pending)
    sample = reservoir.items()
    parts = [
        Part(
            source=source,
            reader=reader,
            settings=settings,
            candidates=str(candidates),
            start=lines.start,
            stop=lines.stop,
            line=lines.line,
            first=lines.first,
            edited=tuple(lines.edited),
            sampled=tuple(sorted(number for number in sample if lines.first <= number <= lines.last)),
            folder=str(folder / f"{index:06}"),
        )
        for index, lines in enumerate(ranges)
    ]
    return Plan(parts, offered, sample)


def judge(part: Part) -> Judged:
    """Apply all rules that look at one candidate, or at one task, and write the outcomes to the part's folder.

    Raises:
        MalformedLine: a line is not a candidate.
        EditError: an edit does not fit its example.
    """
    folder, settings = Path(part.folder), part.settings
    folder.mkdir(parents=True, exist_ok=True)
    counts = Counter[str]()
    # the rules and the unfiltered pool convert the same texts
    markdown, marked = (lru_cache(REMEMBERED)(convert) for convert in (to_markdown, to_marked))
    changes = edits.read_edits(Path(settings.edits), part.source)
    decided = reviews.read_reviews(Path(settings.reviews))
    candidates = jsonl.read_range(Path(part.candidates), Candidate, start=part.start, stop=part.stop, number=part.line)
    outcomes = rules.apply(candidates, reader=part.reader, settings=settings, to_markdown=markdown, to_marked=marked)
    outcomes = edits.apply_edits(
        reviews.apply_reviews(outcomes, decided), {name: changes[name] for name in part.edited}
    )
    sampled = set(part.sampled)
    with (
        (folder / DROPPED).open("wb") as dropped,
        (folder / KEPT).open("wb") as kept,
        (folder / PROMPTS).open("wb") as prompts,
        (folder / UNFILTERED).open("wb") as unfiltered,
    ):
        for number, (candidate, outcome) in enumerate(outcomes, start=part.first):
            match outcome:
                case Example():
                    kept.write(_line(accepted(candidate, outcome, reader=part.reader)))
                case Prompt():
                    prompts.write(_line(accepted(candidate, outcome, reader=part.reader)))
                case Dropped():
                    counts[outcome.reason] += 1
                    dropped.write(_line(outcome))
            if number in sampled:
                plain = rules.unfiltered(
                    [candidate], reader=part.reader, settings=settings, to_markdown=markdown, to_marked=marked
                )
                unfiltered.write(b"".join(map(_line, plain)) or b"\n")  # one line each, empty without an example
    return Judged(dropped=dict(counts))


def join(parts: Sequence[Part], judged: Sequence[Judged], results: FilterResults) -> None:
    """Add the outcomes of the parts to the results, in the order of the candidates."""
    for part, counts in zip(parts, judged, strict=True):
        results.count_dropped(counts.dropped)
        for kept in jsonl.read(Path(part.folder, KEPT), Accepted[Example]):
            results.add(kept)
        for prompt in jsonl.read(Path(part.folder, PROMPTS), Accepted[Prompt]):
            results.add_prompt(prompt)


def unfiltered(parts: Sequence[Part], sample: Sequence[int]) -> Iterator[bytes]:
    """The lines of the unfiltered examples, in the order of the sample."""
    lines: dict[int, bytes] = {}
    for part in parts:
        lines |= zip(part.sampled, Path(part.folder, UNFILTERED).read_bytes().splitlines(keepends=True), strict=True)
    return (lines[number] for number in sample if lines[number].strip())


def _line(record: Record) -> bytes:
    return record.model_dump_json().encode() + b"\n"


def _located(path: Path) -> Iterator[_Candidate]:
    """Where each candidate is in a file. A line that is not a candidate has no id; `judge` reports it."""
    start = 0
    for number, line in jsonl.lines(path, blank=True):
        stop = start + len(line)
        if not line.isspace():
            yield _Candidate(number, start, stop, *_key(line))
        start = stop


def _key(line: bytes) -> tuple[str, str, bool]:
    """Id and site, and whether the candidate has a response."""
    try:
        row = orjson.loads(line)
        return row["id"], row["provenance"]["site"], bool(row["response"].strip())
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", "", False
