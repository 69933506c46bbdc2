"""Response cache of contestants and annotators: SQLite in WAL mode, keyed by address, request and attempt.

A rerun sends only requests without a cached response. Failures are not cached. Several processes and several checkouts
may use one file at the same time; if two of them send the same request, both use the response that was stored first.
The file also records what each stage of a checkout has spent.

Each response is committed when it arrives. With `synchronous = NORMAL` a commit survives the end of the process
(kill -9), but not always a power failure.
"""

import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lima.chat_types import ChatRequest, ChatResponse
from lima.errors import LimaError
from lima.inference.budget import Amount
from lima.redaction import redact, url_secrets
from lima.storage import REPLIES

VARIABLE = "LIMA_CACHE"  # environment variable with the path of the cache
BUSY = 60.0  # seconds to wait for another process that is writing
LOCKED_PAUSE = 0.05  # seconds between attempts to open a locked file
VERSION = 1  # of the tables; 0: replies without usage
UNKNOWN_USAGE = {"model": None, "prompt_tokens": None, "cost": None, "seconds": 0.0, "attempts": 1}
TABLES = """
CREATE TABLE responses
    (digest TEXT PRIMARY KEY, url TEXT, model TEXT, request TEXT, response TEXT) STRICT;
CREATE INDEX responses_of_model ON responses (url, model);
CREATE TABLE spending
    (checkout TEXT, stage TEXT, calls INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL,
    PRIMARY KEY (checkout, stage)) STRICT;
"""
ADD_SPENDING = """
INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens, cost = cost + excluded.cost
    RETURNING calls, prompt_tokens, completion_tokens, cost
"""
SPENDING = "SELECT calls, prompt_tokens, completion_tokens, cost FROM spending WHERE checkout = ? AND stage = ?"


class CacheError(LimaError):
    """The response cache cannot be used. The message names the file, the reason and the fix."""


class ResponseCache:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._checkout = str(Path.cwd())
        self._totals: dict[str, Amount] = {}  # by stage, with unsaved amounts
        self._unsaved: dict[str, Amount] = {}  # by stage; one transaction for a response and its cost

    def get(self, url: str, request: ChatRequest) -> ChatResponse | None:
        """Return the cached response, None if there is none."""
        return self.find(digest(url, request))

    def put(self, url: str, request: ChatRequest, response: ChatResponse, *, key: str = "") -> ChatResponse:
        """Store a response, unless another process has stored one for this request; return the stored one.

        Args:
            key: digest of the request, if it is known.
        """
        key = key or digest(url, request)
        row = [key, _shown(url), request.model, request.model_dump_json(), response.model_dump_json()]
        with self._database:
            added = self._database.execute("INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?)", row).rowcount
            self._save_spending()
        return response if added else self.find(key) or response

    def find(self, key: str) -> ChatResponse | None:
        """Return the cached response with a digest, None if there is none."""
        row = self._database.execute("SELECT response FROM responses WHERE digest = ?", [key]).fetchone()
        return ChatResponse.model_validate_json(row[0]) if row else None

    def knows(self, url: str, model: str) -> bool:
        """Return whether there is any response of this model at this address."""
        query = "SELECT 1 FROM responses WHERE url = ? AND model = ? LIMIT 1"
        return self._database.execute(query, [_shown(url), model]).fetchone() is not None

    def spend(self, stage: str, amount: Amount) -> Amount:
        """Add to what a stage of this checkout has spent; return the total.

        The amount is saved with the next response, or by `flush`.
        """
        self._totals[stage] = self.spent(stage) + amount
        self._unsaved[stage] = self._unsaved.get(stage, Amount()) + amount
        return self._totals[stage]

    def spent(self, stage: str) -> Amount:
        """Return what a stage of this checkout has spent in all its runs."""
        if stage not in self._totals:
            row = self._database.execute(SPENDING, [self._checkout, stage]).fetchone()
            self._totals[stage] = Amount(*row) if row else Amount()
        return self._totals[stage]

    def flush(self) -> None:
        """Save what was spent since the last response."""
        if self._unsaved:
            with self._database:
                self._save_spending()

    def _save_spending(self) -> None:
        for stage, amount in self._unsaved.items():
            row = [self._checkout, stage, amount.calls, amount.prompt_tokens, amount.completion_tokens, amount.cost]
            # the new total includes what other processes have spent
            self._totals[stage] = Amount(*self._database.execute(ADD_SPENDING, row).fetchone())
        self._unsaved.clear()


def path() -> Path:
    """Path of the cache: the environment variable LIMA_CACHE, else work/replies.sqlite."""
    return Path(os.environ.get(VARIABLE) or REPLIES)


@contextmanager
def open_cache(file: Path | None = None) -> Iterator[ResponseCache]:
    """Open the cache at `file`, or at `path()`. Creates it, and migrates the tables of earlier versions.

    Raises:
        CacheError: the file is not a response cache, cannot be written, or is locked by another process.
    """
    file = file or path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        database = _connect(file)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(file, error) from error
    with closing(database):
        try:
            cache = ResponseCache(database)
            try:
                yield cache
            finally:
                cache.flush()
        except sqlite3.Error as error:
            raise _unusable(file, error) from error


def _unusable(file: Path, error: Exception) -> CacheError:
    return CacheError(
        f"cannot use the response cache {file}: {error}; correct its permissions, free space, delete it, or set "
        f"{VARIABLE} to another file"
    )


def _connect(file: Path) -> sqlite3.Connection:
    """Open the file, waiting for other processes that are opening it."""
    deadline = time.monotonic() + BUSY
    while True:
        database = sqlite3.connect(file, timeout=BUSY)
        try:
            database.execute("PRAGMA journal_mode = WAL")  # readers and one writer at a time do not block each other
            database.execute("PRAGMA synchronous = NORMAL")
            _migrate(database, file)
            return database
        except sqlite3.OperationalError as error:
            database.close()
            # a change of the journal mode does not wait for other processes
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(LOCKED_PAUSE)
        except BaseException:
            database.close()
            raise


def _migrate(database: sqlite3.Connection, file: Path) -> None:
    if _version(database) == VERSION:
        return
    database.execute("BEGIN IMMEDIATE")
    with database:
        version = _version(database)  # another process may have migrated it
        if version == VERSION:
            return
        if version > VERSION:
            raise CacheError(
                f"response cache {file} has the format of a later version of this project ({version}, not {VERSION}); "
                f"install that version, or set {VARIABLE} to another file"
            )
        for statement in TABLES.strip().split(";\n"):
            database.execute(statement)
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'replies'").fetchone():
            rows = database.execute("SELECT digest, url, model, question, reply FROM replies").fetchall()
            migrated = [(*row[:4], _with_usage(row[4])) for row in rows]
            database.executemany("INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?)", migrated)
            database.execute("DROP TABLE replies")
            print(f"{file}: migrated {len(rows)} cached responses of an earlier version", file=sys.stderr)
        database.execute(f"PRAGMA user_version = {VERSION}")


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _with_usage(reply: str) -> str:
    """Convert a response of version 0, which had only the number of completion tokens."""
    values = json.loads(reply)
    values["usage"] = {**UNKNOWN_USAGE, "completion_tokens": values.pop("tokens")}
    return json.dumps(values)


def _shown(url: str) -> str:
    return redact(url, url_secrets(url))


def digest(url: str, request: ChatRequest) -> str:
    """SHA-256 of everything a response depends on, without the API key."""
    text = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{url}\n{text}".encode()).hexdigest()
