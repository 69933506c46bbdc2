"""A question to a language model and its reply, whoever carries them; and asking many at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from pydantic import NonNegativeInt

from lima.records import Record, Turn

Answer = TypeVar("Answer")


class Question(Record):
    """Everything an answer depends on, but the server's address."""

    model: str
    messages: tuple[Turn, ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int


class Reply(Record):
    text: str  # "" where the server sends none: a filter of its own, for instance
    finish: Literal["stop", "length"]
    tokens: NonNegativeInt | None


Ask = Callable[[Question], Awaitable[Reply]]


async def every(
    jobs: Sequence[Callable[[], Awaitable[Answer]]], *, concurrency: int, done: Callable[[], object]
) -> list[Answer]:
    """The jobs' answers in their order, `concurrency` at a time; the first to fail stops the others."""
    slots = asyncio.Semaphore(concurrency)

    async def one(job: Callable[[], Awaitable[Answer]]) -> Answer:
        async with slots:
            answer = await job()
        done()
        return answer

    tasks = [asyncio.ensure_future(one(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
