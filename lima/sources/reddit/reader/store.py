"""Submissions and their replies while a dump is read: the latest version of each, in memory that is bounded.

They lie in a database that SQLite keeps in memory up to CACHE bytes, and beyond that in a file which nobody else sees
and which goes with it; TMPDIR says where. It grows with the replies of the wanted subreddits, not with the dump.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from lima.records import Candidate, Dropped
from lima.sources.reddit.reader.rows import RedditComment, text_of

CACHE = 2**26  # bytes; some hundred thousand replies
BATCH = 1000  # replies that are written at a time

TABLES = """
CREATE TABLE submission (id TEXT PRIMARY KEY, version REAL, seen INTEGER, place TEXT, candidate TEXT, dropped TEXT);
CREATE TABLE reply (id TEXT PRIMARY KEY, version REAL, seen INTEGER, link TEXT, score INTEGER, author TEXT, body TEXT);
"""
SUBMISSION = "INSERT INTO submission VALUES (:id, :version, :seen, :place, :candidate, :dropped) ON CONFLICT DO NOTHING"
# of versions with the same time, or without one, the last one that is read counts
LATER = """
UPDATE submission SET version = :version, seen = :seen, place = :place, candidate = :candidate, dropped = :dropped
WHERE id = :id AND version <= :version
"""
REPLY = """
INSERT INTO reply VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
version = excluded.version, seen = excluded.seen, link = excluded.link, score = excluded.score,
author = excluded.author, body = excluded.body WHERE excluded.version >= version
"""
BEST = "SELECT score, author, body FROM reply WHERE link = ? AND score IS NOT NULL ORDER BY score DESC, seen LIMIT 1"


def _opened() -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None)
    for setting in (f"cache_size = {-CACHE // 1024}", "journal_mode = OFF", "synchronous = OFF"):
        database.execute(f"PRAGMA {setting}")
    database.executescript(TABLES)
    database.execute("BEGIN")
    return database


@dataclass
class Store:
    _database: sqlite3.Connection = field(default_factory=_opened)
    _replies: list[tuple[object, ...]] = field(default_factory=list)
    _seen: int = 0

    def add_reply(self, comment: RedditComment) -> None:
        """One that cannot be a response takes the place of an older version that could."""
        score = comment.score if comment.is_a_reply() else None
        body = "" if score is None else text_of(comment.body)
        self._seen += 1
        row = (comment.id, comment.version(), self._seen, comment.link_id, score, comment.author, body)
        self._replies.append(row)
        if len(self._replies) == BATCH:
            self._write()

    def add_submission(self, id_: str, version: float, place: str, outcome: Candidate | Dropped) -> str | None:
        """The place of the version that goes, the older of two, or None where this is the first."""
        self._seen += 1
        values = {"id": id_, "version": version, "seen": self._seen, "place": place, "candidate": None, "dropped": None}
        values["candidate" if isinstance(outcome, Candidate) else "dropped"] = outcome.model_dump_json()
        if self._database.execute(SUBMISSION, values).rowcount:
            return None
        [known] = self._database.execute("SELECT place FROM submission WHERE id = ?", (id_,)).fetchone()
        return str(known) if self._database.execute(LATER, values).rowcount else place

    def outcomes(self) -> Iterator[Candidate | Dropped]:
        """Submissions in the order in which they were read, candidates with their best reply, and the refused ones."""
        self._write()
        self._database.execute("CREATE INDEX replies ON reply (link, score)")
        for id_, candidate, dropped in self._database.execute(
            "SELECT id, candidate, dropped FROM submission ORDER BY seen"
        ):
            if dropped:
                yield Dropped.model_validate_json(dropped)
                continue
            reply = self._database.execute(BEST, (f"t3_{id_}",)).fetchone()
            yield _with(Candidate.model_validate_json(candidate), *(reply or (None, None, "")))

    def close(self) -> None:
        self._database.close()

    def _write(self) -> None:
        self._database.executemany(REPLY, self._replies)
        self._replies.clear()


def _with(candidate: Candidate, score: int | None, author: str | None, body: str) -> Candidate:
    authors = dict.fromkeys(name for name in (candidate.provenance.author, author) if name)
    provenance = candidate.provenance.model_copy(update={"author": "; ".join(authors)})
    return candidate.model_copy(update={"response": body, "response_score": score, "provenance": provenance})
