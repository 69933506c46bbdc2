"""A question to a language model and its reply, whoever carries them; and asking many at a time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import JsonValue, NonNegativeInt

from lima.errors import LimaError
from lima.records import NoReplyReason, Record, Turn

GRACE = 10.0  # seconds in which questions under way may still be answered after a failure: their answers are paid for

Answer = TypeVar("Answer")
Option = Literal["max_tokens", "max_completion_tokens", "temperature", "top_p", "seed"]
ALL_OPTIONS: tuple[Option, ...] = ("max_tokens", "temperature", "top_p", "seed")


class ChatRequest(Record):
    """Everything an answer depends on, but the server's address."""

    model: str
    messages: tuple[Turn, ...]
    options: dict[str, JsonValue]  # sent as they are, beside model and messages
    attempt: NonNegativeInt  # number of this answer among several to one question; not sent


class ChatResponse(Record):
    """An answer: never empty, and never one that the provider's filter cut."""

    text: str  # as the server sent it, with reasoning blocks
    finish: Literal["stop", "length"]
    finish_reason: str | None  # the server's own word
    tokens: NonNegativeInt | None


class NoReply(Record):
    """The reason why a question has no answer; the same question may be answered at another time."""

    reason: NoReplyReason
    detail: str


CompletionFn = Callable[[ChatRequest], Awaitable[ChatResponse | NoReply]]


class TooManyFailures(LimaError):
    """More questions without an answer than the parameters allow."""


class FailureLimit:
    """Counts questions without an answer, and stops where their share is more than allowed."""

    def __init__(self, total: int, *, share: float, setting: str) -> None:
        self._allowed, self._total, self._share, self._setting = share * total, total, share, setting
        self._reasons = Counter[str]()
        self._last = ""

    def count(self, failure: NoReply) -> None:
        """Raises TooManyFailures."""
        self._reasons[failure.reason] += 1
        self._last = failure.detail
        self.check()

    def check(self) -> None:
        """Raises TooManyFailures."""
        failed = self._reasons.total()
        if failed > self._allowed:
            raise TooManyFailures(
                f"{failed} of {self._total} questions have no answer ({counts(self._reasons)}), more than the share of "
                f"{self._share:g} that {self._setting} allows; the last one: {self._last}. All answers are kept: "
                f"remove the cause or raise {self._setting} in params.yaml, and run the stage again"
            )


def limited(ask: CompletionFn, limit: FailureLimit) -> CompletionFn:
    """A function that counts questions without an answer, and asks nothing more once there are too many."""

    async def complete(question: ChatRequest) -> ChatResponse | NoReply:
        limit.check()
        reply = await ask(question)
        if isinstance(reply, NoReply):
            limit.count(reply)
        return reply

    return complete


def counts(reasons: Counter[str] | Counter[NoReplyReason]) -> str:
    """`2 refused, 1 timed_out`, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def options(
    send: Sequence[Option],
    extra: Mapping[str, JsonValue],
    *,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> dict[str, JsonValue]:
    """The options of a request: of the standard ones those in `send`, and `extra` as it is."""
    values: dict[Option, JsonValue] = {
        "max_tokens": max_tokens,
        "max_completion_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    return {**{name: values[name] for name in send}, **extra}


async def gather_limited(
    jobs: Sequence[Callable[[], Awaitable[Answer]]],
    *,
    concurrency: int,
    done: Callable[[], object],
    grace: float = 0.0,
) -> list[Answer]:
    """The jobs' answers in their order, `concurrency` at a time; the first to fail stops the others.

    Args:
        grace: seconds in which jobs under way may still end after another one has failed; no job is begun in them.
    """
    slots = asyncio.Semaphore(concurrency)
    begun: set[asyncio.Task[Answer] | None] = set()
    failed = False

    async def one(job: Callable[[], Awaitable[Answer]]) -> Answer:
        nonlocal failed
        async with slots:
            if failed:
                await asyncio.Event().wait()  # until it is cancelled
            begun.add(asyncio.current_task())
            try:
                answer = await job()
            except LimaError:
                failed = True
                raise
        done()
        return answer

    tasks = [asyncio.ensure_future(one(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    except LimaError:
        for task in tasks:
            if task not in begun:
                task.cancel()
        await asyncio.wait(tasks, timeout=grace)
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
