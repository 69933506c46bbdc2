"""Join of a site's answers with their questions in SQL, best answer first, with a reason for each dropped post.

A temporary SQLite database holds the numbers of all rows and their positions in the tables; texts stay in the tables.
SQLite writes to disk what exceeds `CACHE`, so that memory is bounded. Rows may be in any order.
"""

import errno
import heapq
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from lima import storage
from lima.records import Dropped
from lima.sources.base import Prefilter
from lima.sources.stack_exchange.reader import rows
from lima.sources.stack_exchange.reader.archive import Table
from lima.sources.stack_exchange.reader.rows import BadRow, Columns, Layout

CACHE = 64  # MiB of the database in memory
BATCH = 1_000  # rows inserted or hashed at a time
DISK_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
# `at` and `size` are a row's position in its table in bytes; `reason` is why a post is dropped
SCHEMA = f"""
PRAGMA cache_size = -{CACHE * 1024};
PRAGMA journal_mode = OFF;
BEGIN;
CREATE TABLE post (
    at INTEGER PRIMARY KEY, size INTEGER, line INTEGER, id INTEGER, kind INTEGER, parent INTEGER, accepted INTEGER,
    score INTEGER, owner INTEGER, blank INTEGER, reason TEXT
);
CREATE TABLE unreadable (id INTEGER PRIMARY KEY); -- questions
CREATE TABLE answer ( -- rank 1: the best
    question INTEGER, rank INTEGER, at INTEGER, score INTEGER, blank INTEGER, PRIMARY KEY (question, rank)
) WITHOUT ROWID;
CREATE TABLE reservoir (question INTEGER PRIMARY KEY);
CREATE TABLE user (id INTEGER PRIMARY KEY, at INTEGER, size INTEGER, line INTEGER);
CREATE TABLE comment (at INTEGER PRIMARY KEY, size INTEGER, line INTEGER, post INTEGER, user INTEGER);
"""
INSERT = {
    rows.POSTS: "INSERT INTO post VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    rows.USERS: "INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?)",
    rows.COMMENTS: "INSERT INTO comment VALUES (?, ?, ?, ?, ?)",
}
MARK_DUPLICATES = """
CREATE INDEX post_id ON post (id);
UPDATE post SET reason = 'duplicate_id' WHERE at IN (
    SELECT post.at FROM (SELECT id, min(at) AS at FROM post GROUP BY id HAVING count(*) > 1) AS first
    JOIN post ON post.id = first.id AND post.at > first.at
);
"""
# Answers to a question that is dropped or unreadable are skipped. The accepted answer precedes others of its score.
JOIN = """
UPDATE post SET reason = 'orphan_answer' WHERE kind = 2 AND reason IS NULL
AND parent NOT IN (SELECT id FROM unreadable) AND NOT EXISTS (
    SELECT 1 FROM post AS question
    WHERE question.id = post.parent AND question.kind = 1 AND question.reason IS NOT 'duplicate_id'
);
INSERT INTO answer
SELECT question.at, row_number() OVER (
    PARTITION BY question.at ORDER BY post.score DESC, post.id IS NOT question.accepted, post.id
), post.at, post.score, post.blank
FROM post JOIN post AS question ON question.id = post.parent
WHERE post.kind = 2 AND post.reason IS NULL AND question.kind = 1 AND question.reason IS NULL;
"""
COUNTS = "SELECT count(*), coalesce(sum(kind = 1), 0), coalesce(sum(kind = 2), 0) FROM post"
ANSWERED = """
SELECT post.id, post.at FROM answer JOIN post ON post.at = answer.question WHERE answer.rank = 1 AND NOT answer.blank
"""
# A question stays for the votes of its best answer, or in the reservoir. A blank best answer counts as none.
PREFILTER = """
UPDATE post SET reason = iif(
    (SELECT NOT blank FROM answer WHERE question = post.at AND rank = 1), 'low_response_score', 'no_answer'
)
WHERE kind = 1 AND reason IS NULL AND at NOT IN (SELECT question FROM reservoir)
AND NOT EXISTS (SELECT 1 FROM answer WHERE question = post.at AND rank = 1 AND score >= ?)
"""
GROUPS = """
SELECT grouped.reason, rows, first.line, first.id, answer.score, last.line
FROM (
    SELECT reason, count(*) AS rows, min(at) AS first, max(at) AS last FROM post
    WHERE reason IN ('no_answer', 'low_response_score') GROUP BY reason
) AS grouped
JOIN post AS first ON first.at = grouped.first JOIN post AS last ON last.at = grouped.last
LEFT JOIN answer ON answer.question = first.at AND answer.rank = 1
ORDER BY grouped.reason
"""
OUTCOMES = """
SELECT post.at, post.size, post.line, post.id, post.score, post.parent, post.reason,
best.at, best.size, best.line, best.id, best.score, best.parent, best.reason
FROM post
LEFT JOIN answer ON answer.question = post.at AND answer.rank = 1 LEFT JOIN post AS best ON best.at = answer.at
WHERE post.reason NOT IN ('no_answer', 'low_response_score') OR post.kind = 1 AND post.reason IS NULL
ORDER BY post.at
"""
OTHER_ANSWERS = """
SELECT post.at, post.size, post.line, post.id, post.score, post.parent, post.reason
FROM answer JOIN post ON post.at = answer.at WHERE question = ? AND rank > 1 ORDER BY rank
"""
INDEX_COMMENTS = "CREATE INDEX comment_post ON comment (post, user)"
DISCUSSIONS = """
SELECT answer.id, answer.score, answer.at, answer.size, answer.line, question.at, question.size, question.line
FROM post AS answer JOIN post AS question ON question.id = answer.parent
WHERE answer.kind = 2 AND question.kind = 1 AND answer.owner >= 0 AND question.owner >= 0
AND answer.owner <> question.owner
AND answer.reason IS NOT 'duplicate_id' AND question.reason IS NOT 'duplicate_id'
AND EXISTS (SELECT 1 FROM comment WHERE post = answer.id AND user = question.owner)
AND EXISTS (SELECT 1 FROM comment WHERE post = answer.id AND user = answer.owner)
ORDER BY answer.id
"""


class Post(NamedTuple):
    """A post that is selected, or dropped for `reason`."""

    at: int
    size: int
    line: int
    id: int
    score: int
    parent: int | None
    reason: str | None


class Group(NamedTuple):
    """The questions that are dropped for a reason of the prefilter."""

    reason: str
    rows: int
    line: int  # of the first one, whose id and best score follow
    id: int
    best: int | None
    last_line: int


class Position(NamedTuple):
    at: int
    size: int
    line: int


class Discussion(NamedTuple):
    """An answer that its author and the asker discuss."""

    id: int
    score: int
    answer: Position
    question: Position


@contextmanager
def site_database() -> Iterator["SiteDatabase"]:
    """An empty temporary database, which the system removes when it is closed or the process is killed."""
    with storage.report_disk_full(Path(tempfile.gettempdir())), closing(sqlite3.connect("")) as connection:
        try:
            yield SiteDatabase(connection)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname not in DISK_FULL:
                raise
            raise OSError(errno.ENOSPC, str(error)) from error


class SiteDatabase:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(SCHEMA)

    def load(self, table: Table, layout: Layout) -> Iterator[Dropped]:
        """Insert the rows of an XML table; yields the unreadable rows."""
        insert, batch = INSERT[layout], list[Columns]()
        for row in rows.scan(table, layout):
            if isinstance(row, BadRow):
                question_ids = [(number,) for number in rows.question_ids(row.raw)]
                self._connection.executemany("INSERT OR IGNORE INTO unreadable VALUES (?)", question_ids)
                yield rows.bad_line(table.shown, row)
                continue
            batch.append(row)
            if len(batch) == BATCH:
                self._connection.executemany(insert, batch)
                batch.clear()
        self._connection.executemany(insert, batch)

    def counts(self) -> tuple[int, int, int]:
        """The number of posts, questions and answers."""
        [(posts, questions, answers)] = self._connection.execute(COUNTS)
        return posts, questions, answers

    def join(self, early: Prefilter | None, *, prefix: str) -> None:
        """Join all posts; `prefix` + question id = candidate id."""
        self._connection.executescript(MARK_DUPLICATES)
        self._connection.executescript(JOIN)
        if early:
            reservoir = heapq.nsmallest(early.reservoir, self._shares(early, prefix))
            self._connection.executemany("INSERT INTO reservoir VALUES (?)", [(at,) for _, at in reservoir])
            self._connection.execute(PREFILTER, (early.min_response_score,))

    def groups(self) -> Iterator[Group]:
        return map(Group._make, self._connection.execute(GROUPS))

    def outcomes(self) -> Iterator[tuple[Post, Post | None]]:
        """Kept questions with their best answer, and dropped posts, in the order of the dump, without `groups`."""
        for row in self._connection.execute(OUTCOMES):
            columns = len(Post._fields)
            yield Post(*row[:columns]), None if row[columns] is None else Post(*row[columns:])

    def other_answers(self, question: Post) -> Iterator[Post]:
        """The answers to a kept question after the best one, best first."""
        yield from map(Post._make, self._connection.execute(OTHER_ANSWERS, (question.at,)))

    def user(self, number: int) -> Position | None:
        row = self._connection.execute("SELECT at, size, line FROM user WHERE id = ?", (number,)).fetchone()
        return row and Position(*row)

    def discussions(self) -> Iterator[Discussion]:
        """The answers below which both their author and the asker commented, ordered by id."""
        self._connection.executescript(MARK_DUPLICATES)
        self._connection.execute(INDEX_COMMENTS)
        for number, score, *positions in self._connection.execute(DISCUSSIONS):
            yield Discussion(number, score, Position(*positions[:3]), Position(*positions[3:]))

    def comment_count(self) -> int:
        [(count,)] = self._connection.execute("SELECT count(*) FROM comment")
        return int(count)

    def comments(self, post: int) -> list[Position]:
        found = self._connection.execute("SELECT at, size, line FROM comment WHERE post = ? ORDER BY at", (post,))
        return [Position(*row) for row in found]

    def _shares(self, early: Prefilter, prefix: str) -> Iterator[tuple[float, int]]:
        """The hash of each answered question, and its position."""
        answered = self._connection.execute(ANSWERED)
        while batch := answered.fetchmany(BATCH):
            shares = early.shares(prefix, [number for number, _ in batch])
            yield from zip(shares.tolist(), [at for _, at in batch], strict=True)
