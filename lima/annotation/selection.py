"""Hand selection: a searchable index of a source's candidates, and the file of decisions about them (LIMA §2.1)."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypedDict, cast

from lima import jsonl, storage
from lima.annotation.store import now
from lima.config import Params
from lima.curation import hashing
from lima.curation.reviews import Review, content_digest, read_reviews
from lima.errors import LimaError
from lima.records import Candidate, Dropped, Example, Provenance
from lima.sources import rules
from lima.text.html_to_markdown import to_markdown, to_marked

KEPT = "kept"
REASONS = {
    "inaccurate": "Wrong or out of date",
    "unhelpful": "Does not answer the prompt",
    "style": "Style: rambling, rude, careless",
    "context": "Needs context that is missing",
    "copied": "Copied from another text",
    "niche": "Of interest to few",
    "unsafe": "Unsafe",
    "duplicate": "Similar to another one",
    "other": "Another reason",
}
# What the rules can say about an edited response; others are about votes, languages or the choice of a prompt.
OF_RESPONSES = frozenset(
    ("too_short", "too_long", "mostly_quoted", "first_person", "refers_to_site", "refers_to_missing", "incomplete")
)
RULE = "rule"  # the reason of a rejection that confirms the rule which dropped a candidate
SCHEMA = """
CREATE TABLE candidates (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, digest TEXT NOT NULL, site TEXT NOT NULL, status TEXT NOT NULL,
  detail TEXT NOT NULL, score INTEGER, length INTEGER NOT NULL, margin REAL NOT NULL, topic TEXT NOT NULL,
  turn INTEGER NOT NULL, title TEXT NOT NULL, prompt TEXT NOT NULL, response TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE texts USING fts5 (title, prompt, response, content = 'candidates', content_rowid = 'number');
CREATE INDEX by_status ON candidates (status, turn, margin);
"""
# The turn of a candidate in its site: the most uncertain of every topic, then the second of every topic, and so on.
TURNS = """
UPDATE candidates SET turn = rank FROM (
  SELECT number AS same, row_number() OVER (PARTITION BY site, status ORDER BY depth, margin, id) AS rank FROM (
    SELECT number, site, status, margin, id,
      row_number() OVER (PARTITION BY site, status, topic ORDER BY margin, id) AS depth FROM candidates))
WHERE number = same
"""
VERSION = "2"  # of the index


class IndexedCandidate(TypedDict):
    """The columns of a candidate that pages show."""

    number: int
    id: str
    digest: str
    site: str
    status: str
    detail: str
    score: int | None
    length: int
    title: str
    prompt: str
    response: str


COLUMNS = tuple(IndexedCandidate.__annotations__)


class SelectionError(LimaError):
    """A request about candidates that cannot be answered."""


@dataclass(frozen=True)
class Query:
    """Which candidates are listed."""

    status: str = KEPT  # or a reason for which the rules dropped them
    site: str = ""
    text: str = ""
    min_score: int | None = None
    min_length: int | None = None
    reviewed: bool = False  # include reviewed candidates
    offset: int = 0


class Index:
    """The candidates of a source in an SQLite file with a full-text index, rebuilt if the stages ran again."""

    def __init__(self, source: str, path: Path, database: sqlite3.Connection) -> None:
        self.source = source
        self.path = path
        self._database = database
        self._lock = threading.Lock()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                raise SelectionError(f"the search cannot be read: {error}; use plain words") from error

    def facets(self) -> dict[str, list[tuple[str, int]]]:
        """Numbers of candidates by status and by site."""
        return {
            "status": self.rows(
                "SELECT status, count(*) FROM candidates GROUP BY status ORDER BY status != 'kept', 2 DESC"
            ),
            "site": self.rows("SELECT site, count(*) FROM candidates GROUP BY site ORDER BY 2 DESC, site"),
        }

    def search(self, query: Query, reviewed: Sequence[str], *, most: int) -> tuple[list[IndexedCandidate], int]:
        """Candidates in the order of the queue, and how many there are.

        One of each site in turn, within a site one of each topic (the first tag) in turn, within a topic the most
        uncertain first. Uncertain are those closest to a threshold of the rules.
        """
        conditions, values = ["status = ?"], list[object]([query.status])
        for condition, value in (
            ("site = ?", query.site or None),
            ("score >= ?", query.min_score),
            ("length >= ?", query.min_length),
            ("number IN (SELECT rowid FROM texts WHERE texts MATCH ?)", _phrase(query.text)),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if not query.reviewed and reviewed:
            conditions.append("digest NOT IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(reviewed)))
        matching = f"FROM candidates WHERE {' AND '.join(conditions)}"
        order = f"SELECT {', '.join(COLUMNS)} {matching} ORDER BY turn, margin, id LIMIT ? OFFSET ?"
        rows = self.rows(order, *values, most, query.offset)
        ((total,),) = self.rows(f"SELECT count(*) {matching}", *values)
        return [_indexed(row) for row in rows], total

    def get(self, number: int) -> IndexedCandidate:
        rows = self.rows(f"SELECT {', '.join(COLUMNS)} FROM candidates WHERE number = ?", number)  # noqa: S608
        if not rows:
            raise SelectionError("unknown candidate; reload the page")
        return _indexed(rows[0])


def _indexed(row: tuple[Any, ...]) -> IndexedCandidate:
    return cast(IndexedCandidate, dict(zip(COLUMNS, row, strict=True)))


def _phrase(text: str) -> str | None:
    """A full-text query for beginnings of all of the words; quoted, so that no operator is interpreted."""
    words = text.replace('"', " ").split()
    return " ".join(f'"{word}" *' for word in words) if words else None


def sources(params: Params) -> list[str]:
    """Sources with results of scrape and filter that have examples."""
    return [
        source
        for source in params.sources
        if (storage.result_dir("filter", source) / "kept.jsonl").exists()
        and (storage.result_dir("scrape", source) / "candidates.jsonl").exists()
    ]


def build(params: Params, source: str, folder: Path) -> Index:
    """Open the index of a source, and build it if the candidates or the filter's results changed."""
    inputs = [storage.result_dir("scrape", source) / "candidates.jsonl"]
    inputs += [storage.result_dir("filter", source) / name for name in ("kept.jsonl", "dropped.jsonl")]
    stamp = "-".join([VERSION, *(str(path.stat().st_mtime_ns) for path in inputs)])
    path = folder / f"candidates-{source}.sqlite"
    if not _is_current(path, stamp):
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(unfinished)) as database, database:
            database.executescript(SCHEMA)
            marks = ", ".join("?" * 14)
            database.executemany(f"INSERT INTO candidates VALUES ({marks})", _rows(params, source))  # noqa: S608
            database.execute(TURNS)
            database.execute("INSERT INTO texts (texts) VALUES ('rebuild')")
            database.execute("CREATE TABLE stamp AS SELECT ? AS value", [stamp])
        unfinished.replace(path)
    return Index(source, path, sqlite3.connect(path, check_same_thread=False))


def _is_current(path: Path, stamp: str) -> bool:
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as database:
        try:
            return bool(database.execute("SELECT value FROM stamp").fetchone() == (stamp,))
        except sqlite3.DatabaseError:  # an index of another version, or a damaged one
            return False


def _rows(params: Params, source: str) -> Iterator[tuple[object, ...]]:
    """Kept examples with their texts, and dropped candidates with the texts that they have without quality filters."""
    scraped, filtered = storage.result_dir("scrape", source), storage.result_dir("filter", source)
    kept = {example.id: example for example in jsonl.read(filtered / "kept.jsonl", Example)}
    dropped = {drop.place: drop for drop in jsonl.read(filtered / "dropped.jsonl", Dropped) if not drop.raw}
    settings, reader = params.rules(source), params.sources[source].reader
    section = settings.of_reader(reader)
    bounds = [
        (getattr(section, "min_chars", None), True),
        (getattr(section, "max_chars", None), True),
        (getattr(getattr(section, "prefilter", None), "min_response_score", None), False),
        (getattr(section, "min_response_score", None), False),
    ]
    number = 0
    for candidate in jsonl.read(scraped / "candidates.jsonl", Candidate):
        drop = dropped.get(candidate.id)
        example = kept.get(candidate.id)
        if example is None and drop is not None and drop.reason not in ("removed", "secret") and candidate.response:
            example = next(
                rules.unfiltered(
                    [candidate], reader=reader, settings=settings, to_markdown=to_markdown, to_marked=to_marked
                ),
                None,
            )
        if example is None or len(example.messages) < 2:
            continue
        start = 1 if example.messages[0].role == "system" else 0
        prompt, response = (turn.content for turn in example.messages[start : start + 2])
        score = candidate.response_score if candidate.response_score is not None else candidate.score
        status = drop.reason if drop else KEPT
        margins = [
            abs(log(max(value, 1) / max(bound, 1)))
            for bound, is_length in bounds
            if bound is not None and (value := len(response) if is_length else score) is not None
        ]
        margin = min(margins, default=hashing.fast_hash_uniform(settings.seed, candidate.id))
        number += 1
        yield (
            number,
            candidate.id,
            content_digest(candidate),
            candidate.provenance.site,
            status,
            drop.detail if drop else "",
            score,
            len(response),
            margin,
            candidate.tags[0] if candidate.tags else "",
            0,
            candidate.title,
            prompt,
            response,
        )


def broken_rule(params: Params, source: str, row: IndexedCandidate, *, prompt: str, response: str) -> Dropped | None:
    """The first rule of the source that an edited response breaks; None if it keeps the rules for responses."""
    reader = params.sources[source].reader
    if rules.whole_sites(reader):
        return None  # these rules compare the candidates of a site
    place = Provenance(source=source, site=row["site"], id=row["id"], url="", author="", license="", digest="")
    edited = Candidate(
        id=row["id"],
        title=row["title"],
        description=prompt,
        response=response,
        later_turns=(),
        markup="markdown",
        score=row["score"],
        response_score=row["score"],
        tags=(),
        provenance=place,
    )
    settings = params.rules(source)
    judged = rules.apply([edited], reader=reader, settings=settings, to_markdown=to_markdown, to_marked=to_marked)
    outcome = next(judged)[1]
    return outcome if isinstance(outcome, Dropped) and outcome.reason in OF_RESPONSES else None


class Decisions:
    """The file of decisions. Every change is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int], dict[str, Review]] | None = None  # the file's stamp, and its decisions

    def all(self) -> Mapping[str, Review]:
        """The decisions by digest. They are read again if another program changed the file, for example git."""
        stamp = self._stamp()
        read = self._read
        if read is None or read[0] != stamp:
            read = self._read = (stamp, read_reviews(self.path))
        return read[1]

    def _stamp(self) -> tuple[int, int]:
        if not self.path.exists():
            return (0, 0)
        status = self.path.stat()
        return (status.st_mtime_ns, status.st_size)

    def _write(self, reviews: dict[str, Review]) -> None:
        jsonl.write(self.path, reviews.values(), is_dependency=True)
        self._read = (self._stamp(), reviews)

    def decide(
        self,
        row: IndexedCandidate,
        *,
        decision: Literal["accept", "reject"],
        reason: str,
        person: str,
        seconds: float,
        prompt: str | None,
        response: str | None,
    ) -> Review:
        """Store a decision about a row of the index; it replaces an earlier one about the same texts."""
        review = Review(
            id=row["id"],
            digest=row["digest"],
            decision=decision,
            reason=reason,
            prompt=prompt,
            response=response,
            person=person,
            time=now(),
            seconds=seconds,
            status=row["status"],
        )
        with self._lock:
            self._write({**{d: known for d, known in self.all().items() if d != review.digest}, review.digest: review})
        return review

    def undo(self, digest: str) -> bool:
        """Delete the decision about these texts. Returns whether there was one."""
        with self._lock:
            reviews = dict(self.all())
            if reviews.pop(digest, None) is None:
                return False
            self._write(reviews)
            return True

    def pace(self) -> float | None:
        """Decisions per hour: 3600 s / median seconds per decision."""
        seconds = [review.seconds for review in self.all().values() if review.seconds]
        return 3600 / median(seconds) if seconds else None

    def audits(self) -> dict[str, tuple[int, int]]:
        """By reason for which rules dropped candidates: number of decisions, and of those that accept the candidate."""
        audited = [review for review in self.all().values() if review.status != KEPT]
        total = Counter(review.status for review in audited)
        accepted = Counter(review.status for review in audited if review.decision == "accept")
        return {status: (total[status], accepted[status]) for status in total}
