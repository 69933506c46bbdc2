"""SQLite storage of a study: people, sessions, assignments and judgments.

Every judgment is committed with `synchronous=FULL` before the caller can confirm it, so that a kill loses none that was
confirmed. Revisions are new rows; the one with the highest version is valid.
"""

import hashlib
import secrets
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Literal

from lima.annotation.questions import Kind
from lima.errors import LimaError

BUSY = 10.0  # seconds to wait for another process that is writing
Role = Literal["person", "admin"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS people (
  id INTEGER PRIMARY KEY, pseudonym TEXT NOT NULL UNIQUE, simulated INTEGER NOT NULL, created REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS withdrawn (pseudonym TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS invitations (
  token TEXT PRIMARY KEY, role TEXT NOT NULL, person INTEGER REFERENCES people, created REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
  token TEXT PRIMARY KEY, role TEXT NOT NULL, person INTEGER NOT NULL REFERENCES people,
  created REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS checks (
  person INTEGER NOT NULL REFERENCES people, task TEXT NOT NULL, attempts INTEGER NOT NULL, passed INTEGER NOT NULL,
  PRIMARY KEY (person, task)) STRICT;
CREATE TABLE IF NOT EXISTS assignments (
  id TEXT PRIMARY KEY, person INTEGER NOT NULL REFERENCES people, evaluation TEXT NOT NULL, question TEXT NOT NULL,
  kind TEXT NOT NULL, ordinal INTEGER NOT NULL, first TEXT, expected TEXT, opened REAL NOT NULL,
  UNIQUE (person, evaluation, ordinal), UNIQUE (person, question, kind)) STRICT;
CREATE INDEX IF NOT EXISTS assignments_by_question ON assignments (evaluation, question);
CREATE TABLE IF NOT EXISTS judgments (
  id TEXT PRIMARY KEY, assignment TEXT NOT NULL REFERENCES assignments, version INTEGER NOT NULL, request TEXT UNIQUE,
  value TEXT, reason TEXT NOT NULL, comment TEXT NOT NULL, seconds REAL NOT NULL, time TEXT NOT NULL,
  line TEXT NOT NULL, UNIQUE (assignment, version)) STRICT;
CREATE TABLE IF NOT EXISTS conversations (
  id TEXT PRIMARY KEY, person INTEGER NOT NULL REFERENCES people, evaluation TEXT NOT NULL, opening TEXT NOT NULL,
  contestant TEXT NOT NULL, ordinal INTEGER NOT NULL, ended INTEGER NOT NULL, started REAL NOT NULL,
  UNIQUE (person, evaluation, opening, contestant), UNIQUE (person, evaluation, ordinal)) STRICT;
CREATE TABLE IF NOT EXISTS exchanges (
  conversation TEXT NOT NULL REFERENCES conversations, turn INTEGER NOT NULL, request TEXT NOT NULL UNIQUE,
  asked TEXT NOT NULL, response TEXT, attempt INTEGER NOT NULL, assignment TEXT,
  PRIMARY KEY (conversation, turn)) STRICT;
CREATE TABLE IF NOT EXISTS imported (
  id TEXT PRIMARY KEY, evaluation TEXT NOT NULL, pseudonym TEXT NOT NULL, question TEXT NOT NULL, kind TEXT NOT NULL,
  line TEXT NOT NULL) STRICT;
"""


class StudyError(LimaError):
    """A request that the study refuses."""


class Conflict(StudyError):
    """The assignment was judged meanwhile, for example in another tab."""


@dataclass(frozen=True)
class Person:
    id: int
    pseudonym: str
    simulated: bool


@dataclass(frozen=True)
class Session:
    person: Person
    role: Role


@dataclass(frozen=True)
class Assignment:
    """A question given to a person, with the order in which its responses are shown."""

    id: str
    person: int
    evaluation: str
    question: str
    kind: Kind
    ordinal: int
    first: str | None  # pairwise: the contestant shown first
    expected: str | None  # attention checks: the value that the text asks for, as shown
    opened: float  # seconds since the epoch


@dataclass(frozen=True)
class Submitted:
    """A judgment as a person submits it."""

    version: int  # of the judgment that this one replaces, 0 for none
    request: str  # chosen by the client, the same for repetitions of one submission
    value: str | None  # as shown; None: skipped, for the reason
    reason: str = ""
    comment: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Saved:
    """The valid judgment of an assignment."""

    id: str
    assignment: str
    version: int
    request: str | None
    value: str | None  # as shown: "first", "second" or "tie" for a pair
    reason: str
    comment: str
    seconds: float
    time: str


def hashed(token: str) -> str:
    """Tokens are stored as SHA-256 only, so that the file does not open a session."""
    return hashlib.sha256(token.encode()).hexdigest()


def now() -> str:
    """The current time as ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Store:
    """A study's database. Calls are serialised by a lock, so that threads may share it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, timeout=BUSY, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.executescript(SCHEMA)
        with self.writing():
            self._database.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", [secrets.token_hex(32)])
        self.secret: str = self.meta("secret") or ""

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed to disk when the block ends, rolled back if it raises."""
        with self._lock:
            if self._database.in_transaction:  # part of an outer block of the same thread
                yield self._database
                return
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    # --- settings of the running study ---

    def meta(self, name: str) -> str | None:
        rows = self.rows("SELECT value FROM meta WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def set_meta(self, name: str, value: str) -> None:
        with self.writing() as database:
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, value])

    # --- people and sessions ---

    def person(self, pseudonym: str, *, simulated: bool = False) -> Person:
        """The person with this pseudonym, created on first use."""
        with self.writing() as database:
            database.execute(
                "INSERT OR IGNORE INTO people (pseudonym, simulated, created) VALUES (?, ?, ?)",
                [pseudonym, int(simulated), time.time()],
            )
        ((id_, name, flag),) = self.rows("SELECT id, pseudonym, simulated FROM people WHERE pseudonym = ?", pseudonym)
        return Person(_int(id_), str(name), bool(flag))

    def people(self) -> list[Person]:
        rows = self.rows("SELECT id, pseudonym, simulated FROM people ORDER BY id")
        return [Person(_int(id_), str(name), bool(flag)) for id_, name, flag in rows]

    def invite(self, role: Role, pseudonym: str | None = None) -> str:
        """A new invitation token; it is returned once and stored hashed."""
        token = secrets.token_urlsafe(24)
        person = self.person(pseudonym).id if pseudonym else None
        with self.writing() as database:
            database.execute("INSERT INTO invitations VALUES (?, ?, ?, ?)", [hashed(token), role, person, time.time()])
        return token

    def redeem(self, token: str) -> Session | None:
        """The person and role of an invitation; a pseudonym is assigned on first use."""
        rows = self.rows("SELECT role, person FROM invitations WHERE token = ?", hashed(token))
        if not rows:
            return None
        role, person_id = rows[0]
        if person_id is None:
            person = self.person(self.unused_pseudonym())
            with self.writing() as database:
                database.execute(
                    "UPDATE invitations SET person = ? WHERE token = ? AND person IS NULL", [person.id, hashed(token)]
                )
            ((person_id,),) = self.rows("SELECT person FROM invitations WHERE token = ?", hashed(token))
        person = next(person for person in self.people() if person.id == person_id)
        return Session(person, "admin" if role == "admin" else "person")

    def unused_pseudonym(self) -> str:
        used = {person.pseudonym for person in self.people()}
        withdrawn = {str(pseudonym) for (pseudonym,) in self.rows("SELECT pseudonym FROM withdrawn")}
        return next(
            name for number in count(1) if (name := f"person-{number}") not in used and hashed(name) not in withdrawn
        )

    def open_session(self, session: Session) -> str:
        token = secrets.token_urlsafe(32)
        with self.writing() as database:
            row = [hashed(token), session.role, session.person.id, time.time()]
            database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)
        return token

    def close_session(self, token: str) -> None:
        with self.writing() as database:
            database.execute("DELETE FROM sessions WHERE token = ?", [hashed(token)])

    def session(self, token: str) -> Session | None:
        rows = self.rows(
            "SELECT people.id, pseudonym, simulated, role FROM sessions JOIN people ON people.id = person "
            "WHERE token = ?",
            hashed(token),
        )
        if not rows:
            return None
        id_, name, flag, role = rows[0]
        return Session(Person(_int(id_), str(name), bool(flag)), "admin" if role == "admin" else "person")

    def withdraw(self, person: Person) -> int:
        """Delete a person with all judgments, sessions and invitations. Returns the number of judgments."""
        with self.writing() as database:
            own = "SELECT id FROM assignments WHERE person = ?"
            deleted = database.execute(f"DELETE FROM judgments WHERE assignment IN ({own})", [person.id]).rowcount  # noqa: S608
            held = "SELECT id FROM conversations WHERE person = ?"
            database.execute(f"DELETE FROM exchanges WHERE conversation IN ({held})", [person.id])  # noqa: S608
            for table in ("assignments", "conversations", "sessions", "invitations", "checks"):
                database.execute(f"DELETE FROM {table} WHERE person = ?", [person.id])  # noqa: S608
            database.execute("DELETE FROM imported WHERE pseudonym = ?", [person.pseudonym])
            database.execute("DELETE FROM people WHERE id = ?", [person.id])
            database.execute("INSERT OR IGNORE INTO withdrawn VALUES (?)", [hashed(person.pseudonym)])
        return deleted

    # --- comprehension checks ---

    def check(self, person: Person, task: str) -> tuple[int, bool]:
        """Attempts at the comprehension check of a task, and whether it is passed."""
        rows = self.rows("SELECT attempts, passed FROM checks WHERE person = ? AND task = ?", person.id, task)
        return (_int(rows[0][0]), bool(rows[0][1])) if rows else (0, False)

    def record_check(self, person: Person, task: str, *, passed: bool) -> None:
        with self.writing() as database:
            database.execute(
                "INSERT INTO checks VALUES (?, ?, 1, ?) ON CONFLICT (person, task) DO UPDATE "
                "SET attempts = attempts + 1, passed = max(passed, excluded.passed)",
                [person.id, task, int(passed)],
            )

    # --- assignments ---

    def assignments(self, person: Person, evaluation: str) -> list[tuple[Assignment, Saved | None]]:
        """A person's assignments in the order in which they were given, each with its valid judgment."""
        rows = self.rows(
            f"{WITH_JUDGMENT} WHERE a.person = ? AND a.evaluation = ? ORDER BY a.ordinal",
            person.id,
            evaluation,
        )
        return [_assignment(row) for row in rows]

    def assignment(self, id_: str, person: Person) -> tuple[Assignment, Saved | None]:
        """An assignment of this person with its valid judgment. Raises StudyError for another's or an unknown one."""
        rows = self.rows(
            f"{WITH_JUDGMENT} WHERE a.id = ? AND a.person = ?",
            id_,
            person.id,
        )
        if not rows:
            raise StudyError("unknown item; reload the page")
        return _assignment(rows[0])

    def last_ordinal(self, person: Person, evaluation: str) -> int:
        """The greatest ordinal among a person's assignments, -1 without any."""
        query = "SELECT coalesce(max(ordinal), -1) FROM assignments WHERE person = ? AND evaluation = ?"
        ((ordinal,),) = self.rows(query, person.id, evaluation)
        return _int(ordinal)

    def assign(self, new: Assignment) -> None:
        with self.writing() as database:
            database.execute("INSERT INTO assignments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(new))

    def coverage(self, evaluation: str, *, since: float) -> Counter[str]:
        """Number of people per question who judged it, or have had it open since that time; skipped ones excluded."""
        rows = self.rows(
            "SELECT a.question, count(*) FROM assignments a LEFT JOIN judgments j ON j.assignment = a.id "
            "AND j.version = (SELECT max(version) FROM judgments WHERE assignment = a.id) "
            "WHERE a.evaluation = ? AND a.kind = 'main' AND (j.value IS NOT NULL OR (j.id IS NULL AND a.opened > ?)) "
            "GROUP BY a.question",
            evaluation,
            since,
        )
        counts = Counter({str(question): _int(people) for question, people in rows})
        for question, people in self.rows(
            "SELECT question, count(*) FROM imported WHERE evaluation = ? AND kind = 'main' GROUP BY question",
            evaluation,
        ):
            counts[str(question)] += _int(people)
        return counts

    def order_counts(self, question: str) -> Counter[str]:
        """How often each contestant was shown first for a question, over all people."""
        rows = self.rows(
            "SELECT first, count(*) FROM assignments WHERE question = ? AND kind = 'main' GROUP BY first", question
        )
        return Counter({str(first): _int(times) for first, times in rows})

    # --- judgments ---

    def save(self, assignment: Assignment, submitted: Submitted, *, line: Callable[[Saved], str]) -> Saved:
        """Store a judgment; it is on disk when this returns. The same request again returns the stored one.

        Args:
            line: returns the judgment as a line of corpus/annotations.

        Raises:
            Conflict: the assignment has another version, for example from a second tab.
        """
        with self.writing() as database:
            known = database.execute(f"{JUDGMENT} WHERE request = ?", [submitted.request]).fetchone()
            if known:
                saved = Saved(*known)
                if saved.assignment != assignment.id:
                    raise Conflict("this request was used for another item; reload the page")
                return saved
            ((current,),) = database.execute(
                "SELECT coalesce(max(version), 0) FROM judgments WHERE assignment = ?", [assignment.id]
            ).fetchall()
            if current != submitted.version:
                raise Conflict("this item was already judged, for example in another tab; this judgment was not saved")
            changes = asdict(submitted) | {"version": submitted.version + 1}
            saved = Saved(uuid.uuid4().hex, assignment.id, **changes, time=now())
            database.execute(
                "INSERT INTO judgments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [*astuple(saved), line(saved)],
            )
        return saved

    def lines(self, evaluation: str) -> list[str]:
        """The valid judgments of an evaluation as lines of corpus/annotations, the imported ones included."""
        own = self.rows(
            "SELECT j.line FROM assignments a JOIN judgments j ON j.assignment = a.id "
            "AND j.version = (SELECT max(version) FROM judgments WHERE assignment = a.id) WHERE a.evaluation = ?",
            evaluation,
        )
        imported = self.rows("SELECT line FROM imported WHERE evaluation = ?", evaluation)
        return [str(line) for (line,) in own + imported]

    def judged_evaluations(self) -> set[str]:
        """Evaluations with at least one judgment."""
        rows = self.rows("SELECT evaluation FROM assignments UNION SELECT evaluation FROM imported")
        return {str(evaluation) for (evaluation,) in rows}

    # --- lines of corpus/annotations that are not in this database ---

    def imported_questions(self, evaluation: str, pseudonym: str) -> set[str]:
        """Questions that this person has judged on another machine."""
        rows = self.rows("SELECT question FROM imported WHERE evaluation = ? AND pseudonym = ?", evaluation, pseudonym)
        return {str(question) for (question,) in rows}

    def add_imported(self, rows: Sequence[tuple[str, ...]]) -> int:
        """Add annotations (id, evaluation, pseudonym, question, kind, line) that were not made in this database.

        Annotations of people who withdrew their data are ignored.

        Returns:
            The number of added or replaced annotations.
        """
        with self.writing() as database:
            own = {id_ for (id_,) in database.execute("SELECT id FROM assignments")}
            withdrawn = {pseudonym for (pseudonym,) in database.execute("SELECT pseudonym FROM withdrawn")}
            fresh = [row for row in rows if row[0] not in own and hashed(row[2]) not in withdrawn]
            database.executemany("INSERT OR REPLACE INTO imported VALUES (?, ?, ?, ?, ?, ?)", fresh)
        return len(fresh)


JUDGMENT = "SELECT id, assignment, version, request, value, reason, comment, seconds, time FROM judgments"
WITH_JUDGMENT = (
    "SELECT a.id, a.person, a.evaluation, a.question, a.kind, a.ordinal, a.first, a.expected, a.opened, "
    "j.id, j.assignment, j.version, j.request, j.value, j.reason, j.comment, j.seconds, j.time "
    "FROM assignments a LEFT JOIN judgments j ON j.assignment = a.id "
    "AND j.version = (SELECT max(version) FROM judgments WHERE assignment = a.id)"
)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _assignment(row: tuple[object, ...]) -> tuple[Assignment, Saved | None]:
    saved = Saved(*row[9:]) if row[9] is not None else None  # type: ignore[arg-type]
    return Assignment(*row[:9]), saved  # type: ignore[arg-type]
