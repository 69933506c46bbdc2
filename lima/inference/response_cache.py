"""Response cache for contestants and annotators: every answered call under the digest of what was asked.

A rerun asks only for what has no answer. A question without an answer is never kept.
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

BUSY = 60.0  # seconds to wait for another process that writes


class ResponseCache:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def get(self, url: str, question: ChatRequest) -> ChatResponse | None:
        row = self._database.execute("SELECT reply FROM replies WHERE digest = ?", [digest(url, question)]).fetchone()
        return ChatResponse.model_validate_json(row[0]) if row else None

    def put(self, url: str, question: ChatRequest, reply: ChatResponse) -> None:
        """On disk before it returns: a kill right afterwards loses nothing."""
        shown = redact(url, url_secrets(url))
        row = [digest(url, question), shown, question.model, question.model_dump_json(), reply.model_dump_json()]
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", row)

    def knows(self, url: str, model: str) -> bool:
        """Whether this model has ever answered at this address."""
        asked = [redact(url, url_secrets(url)), model]
        row = self._database.execute("SELECT 1 FROM replies WHERE url = ? AND model = ? LIMIT 1", asked).fetchone()
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
    """A function that asks for nothing that the cache knows or that is being asked right now."""
    in_turn: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def complete(question: ChatRequest) -> ChatResponse | NoReply:
        async with in_turn[digest(url, question)]:
            known = cache.get(url, question)
            if known:
                return known
            answer = await ask(question)
            if isinstance(answer, ChatResponse):
                cache.put(url, question, answer)
            return answer

    return complete


def digest(url: str, question: ChatRequest) -> str:
    """SHA-256 of everything the answer depends on; the key is no part of it."""
    asked = json.dumps(question.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{url}\n{asked}".encode()).hexdigest()
