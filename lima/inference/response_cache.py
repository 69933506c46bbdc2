"""Response cache for contestants and annotators, an SQLite file keyed by the SHA-256 of the request.

A rerun sends only requests without a cached response. Failures are not cached.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lima.chat_types import ChatRequest, ChatResponse, CompletionFn, NoReply
from lima.redaction import redact, url_secrets

BUSY = 60.0  # seconds to wait for another process that is writing


class ResponseCache:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def get(self, url: str, request: ChatRequest) -> ChatResponse | None:
        """Return the cached response, None if there is none."""
        row = self._database.execute("SELECT reply FROM replies WHERE digest = ?", [digest(url, request)]).fetchone()
        return ChatResponse.model_validate_json(row[0]) if row else None

    def put(self, url: str, request: ChatRequest, response: ChatResponse) -> None:
        """Store a response; it is on disk when this returns."""
        shown = redact(url, url_secrets(url))
        row = [digest(url, request), shown, request.model, request.model_dump_json(), response.model_dump_json()]
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", row)

    def knows(self, url: str, model: str) -> bool:
        """Return whether there is any response of this model at this address."""
        key = [redact(url, url_secrets(url)), model]
        row = self._database.execute("SELECT 1 FROM replies WHERE url = ? AND model = ? LIMIT 1", key).fetchone()
        return row is not None


@contextmanager
def open_cache(path: Path) -> Iterator[ResponseCache]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=BUSY)) as database:
        database.execute("PRAGMA journal_mode = WAL")  # readers and one writer at a time do not block each other
        database.execute(
            "CREATE TABLE IF NOT EXISTS replies "
            "(digest TEXT PRIMARY KEY, url TEXT, model TEXT, question TEXT, reply TEXT) STRICT"
        )
        yield ResponseCache(database)


def cached(ask: CompletionFn, cache: ResponseCache, *, url: str) -> CompletionFn:
    """Wrap a completion function with the cache. Concurrent equal requests are sent once."""
    locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def complete(request: ChatRequest) -> ChatResponse | NoReply:
        async with locks[digest(url, request)]:
            hit = cache.get(url, request)
            if hit:
                return hit
            response = await ask(request)
            if isinstance(response, ChatResponse):
                cache.put(url, request, response)
            return response

    return complete


def digest(url: str, request: ChatRequest) -> str:
    """SHA-256 of everything a response depends on, without the API key."""
    text = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{url}\n{text}".encode()).hexdigest()
