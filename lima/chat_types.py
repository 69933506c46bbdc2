"""Chat requests and responses, independent of the transport, and concurrent requests with a failure limit."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import JsonValue, NonNegativeInt

from lima.errors import LimaError
from lima.records import NoReplyReason, Record, Turn

GRACE = 10.0  # seconds that running requests may take after a failure, since their responses are paid for

Result = TypeVar("Result")
Option = Literal["max_tokens", "max_completion_tokens", "temperature", "top_p", "seed"]
ALL_OPTIONS: tuple[Option, ...] = ("max_tokens", "temperature", "top_p", "seed")


class ChatRequest(Record):
    """Everything a response depends on, except the server's address."""

    model: str
    messages: tuple[Turn, ...]
    options: dict[str, JsonValue]  # sent unchanged, together with model and messages
    attempt: NonNegativeInt  # index of this sample among several of one request; not sent


class ChatResponse(Record):
    """A response. It is never empty and never truncated by the provider's content filter."""

    text: str  # unchanged, with reasoning blocks
    finish: Literal["stop", "length"]
    finish_reason: str | None  # as sent by the server
    tokens: NonNegativeInt | None


class NoReply(Record):
    """The reason why a request has no response. The same request may succeed later."""

    reason: NoReplyReason
    detail: str


CompletionFn = Callable[[ChatRequest], Awaitable[ChatResponse | NoReply]]


class TooManyFailures(LimaError):
    """More requests without a response than the parameters allow."""


class FailureLimit:
    """Counts requests without a response; raises if their share exceeds a limit.

    Args:
        total: number of requests.
        share: greatest allowed share of requests without a response, 0 to 1.
        setting: name of the parameter, for the error message.
    """

    def __init__(self, total: int, *, share: float, setting: str) -> None:
        self._allowed = share * total
        self._total = total
        self._share = share
        self._setting = setting
        self._reasons = Counter[str]()
        self._last_detail = ""

    def count(self, failure: NoReply) -> None:
        """Count a failure. Raises TooManyFailures."""
        self._reasons[failure.reason] += 1
        self._last_detail = failure.detail
        self.check()

    def check(self) -> None:
        """Raises TooManyFailures if there are more failures than allowed."""
        failed = self._reasons.total()
        if failed > self._allowed:
            raise TooManyFailures(
                f"{failed} of {self._total} requests have no response ({counts(self._reasons)}), more than "
                f"{self._setting}: {self._share:g} allows; last failure: {self._last_detail}. Responses are cached: "
                f"fix the cause or raise {self._setting} in params.yaml, then run the stage again"
            )


def limited(ask: CompletionFn, limit: FailureLimit) -> CompletionFn:
    """Wrap a completion function so that failures are counted and no request is sent once the limit is exceeded."""

    async def complete(request: ChatRequest) -> ChatResponse | NoReply:
        limit.check()
        reply = await ask(request)
        if isinstance(reply, NoReply):
            limit.count(reply)
        return reply

    return complete


def counts(reasons: Counter[str] | Counter[NoReplyReason]) -> str:
    """Format counts as `2 refused, 1 timed_out`, the most frequent first."""
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
    """Return the options of a request: the standard ones named in `send`, and all of `extra`."""
    values: dict[Option, JsonValue] = {
        "max_tokens": max_tokens,
        "max_completion_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    return {**{name: values[name] for name in send}, **extra}


async def gather_limited(
    jobs: Sequence[Callable[[], Awaitable[Result]]],
    *,
    concurrency: int,
    done: Callable[[], object],
    grace: float = 0.0,
) -> list[Result]:
    """Run jobs with limited concurrency and return their results in order. The first LimaError cancels the others.

    Args:
        concurrency: number of jobs that run at the same time.
        done: called after each job.
        grace: seconds that running jobs may take after another one has failed; no job is started in this time.
    """
    slots = asyncio.Semaphore(concurrency)
    started: set[asyncio.Task[Result] | None] = set()
    failed = False

    async def run(job: Callable[[], Awaitable[Result]]) -> Result:
        nonlocal failed
        async with slots:
            if failed:
                await asyncio.Event().wait()  # until this task is cancelled
            started.add(asyncio.current_task())
            try:
                result = await job()
            except LimaError:
                failed = True
                raise
        done()
        return result

    tasks = [asyncio.ensure_future(run(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    except LimaError:
        for task in tasks:
            if task not in started:
                task.cancel()
        await asyncio.wait(tasks, timeout=grace)
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
