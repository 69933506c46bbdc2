"""Every answered call under the digest of what was asked, so that a rerun asks nothing twice."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lima.protocol import Question, Reply


class Store:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def get(self, url: str, question: Question) -> Reply | None:
        row = self._database.execute("SELECT reply FROM calls WHERE digest = ?", [digest(url, question)]).fetchone()
        return Reply.model_validate_json(row[0]) if row else None

    def put(self, url: str, question: Question, reply: Reply) -> None:
        """On disk before it returns: a kill right afterwards loses nothing."""
        row = [digest(url, question), url, question.model_dump_json(), reply.model_dump_json()]
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", row)


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")  # a reader may look on while we write
        database.execute(
            "CREATE TABLE IF NOT EXISTS calls (digest TEXT PRIMARY KEY, url TEXT, question TEXT, reply TEXT) STRICT"
        )
        yield Store(database)


def digest(url: str, question: Question) -> str:
    """SHA-256 of everything the answer depends on; the key is no part of it."""
    return hashlib.sha256(f"{url}\n{question.model_dump_json()}".encode()).hexdigest()
