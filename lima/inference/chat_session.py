"""Requests to one endpoint: response cache, budget, failure limit, progress and estimates of cost.

Contestants and annotators send their requests through a session. Requests whose responses are cached are not sent.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from lima.chat_types import ChatRequest, ChatResponse, FailureLimit, NoReply
from lima.config.entries import ServedModel
from lima.config.sections import RequestSettings
from lima.errors import LimaError
from lima.inference import response_cache
from lima.inference.budget import Amount, Spending, expected, priced
from lima.inference.chat_client import Endpoint, connected
from lima.inference.response_cache import ResponseCache

GRACE = 10.0  # seconds that running requests may take after a failure, since their responses are paid for
SEED = 0  # of the jitter, which changes no response

Result = TypeVar("Result")


class Session:
    """Sends the requests of one stage to one endpoint."""

    def __init__(
        self, endpoint: Endpoint, cache: ResponseCache, served: ServedModel, *, limit: FailureLimit, bar: "tqdm[None]"
    ) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self._served = served
        self._limit = limit
        self._bar = bar
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.cached = 0  # requests whose response was in the cache

    async def complete(self, request: ChatRequest) -> ChatResponse | NoReply:
        """Return the cached response, or send the request. Concurrent equal requests are sent once.

        Raises:
            TooManyFailures: more requests without a response than the settings allow.
            EndpointError: the server responds to no request.
        """
        key = response_cache.digest(self._served.url, request)
        async with self._locks[key]:
            reply: ChatResponse | NoReply | None = self._cache.find(key)
            if reply is None:
                self._limit.check()
                reply = await self._endpoint.ask(request)
                if isinstance(reply, ChatResponse):
                    reply = self._cache.put(self._served.url, request, reply, key=key)
            else:
                self.cached += 1
        self._bar.set_postfix_str(self._progress(), refresh=False)
        self._bar.update()
        if isinstance(reply, NoReply):
            self._count(reply)
            return reply
        return reply.model_copy(update={"usage": priced(reply.usage, self._served.prices)})

    async def gather(self, jobs: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
        """Run jobs that call `complete`, and return their results in order. The first LimaError stops the others.

        All jobs start at once; the endpoint limits the requests. After a failure no request is sent, and those that
        were sent have GRACE seconds to end.
        """
        tasks = [asyncio.ensure_future(job()) for job in jobs]
        try:
            return await asyncio.gather(*tasks)
        except LimaError as error:
            self._endpoint.stop(error)
            await asyncio.wait(tasks, timeout=GRACE)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _count(self, failure: NoReply) -> None:
        try:
            self._limit.count(failure)
        except LimaError as error:
            self._endpoint.stop(error)
            raise

    def summary(self) -> str:
        """Counts of requests, tokens and cost."""
        counts = self._endpoint.counts
        cost = f", cost {counts.cost:.4g}" if counts.cost else ""
        return (
            f"{self.cached:,} cached, {counts.calls:,} calls, {counts.retries:,} retries, {counts.failures:,} failed, "
            f"{counts.tokens:,} tokens{cost}"
        )

    def _progress(self) -> str:
        return f"{self.summary()}, {self._endpoint.counts.waiting} waiting, limit {self._endpoint.slots.limit}"


@asynccontextmanager
async def session(
    served: ServedModel,
    settings: RequestSettings,
    *,
    stage: str,
    total: int,
    description: str,
    cache_path: Path | None = None,
) -> AsyncIterator[Session]:
    """Open the cache and a connection for the duration of the block.

    Args:
        served: the endpoint's entry in params.yaml.
        settings: section of the stage in params.yaml.
        stage: name of that section: "sample" or "judge". Its budget holds for all its runs in this checkout.
        total: number of requests, for progress and the failure limit.
        description: shown with the progress.
        cache_path: file of the response cache; None for the configured one.
    """
    limit = FailureLimit(total, share=settings.max_failed_share, setting=f"{stage}.max_failed_share")
    with (
        response_cache.open_cache(cache_path) as cache,
        tqdm(total=total, desc=description, unit="request", disable=None, smoothing=0.1) as bar,
    ):
        spending = Spending(
            settings.budget,
            setting=f"{stage}.budget",
            add=lambda amount: cache.spend(stage, amount),
            total=cache.spent(stage),
        )
        known = cache.knows(served.url, served.model)
        async with connected(served, settings, seed=SEED, spending=spending, known=known) as endpoint:
            opened = Session(endpoint, cache, served, limit=limit, bar=bar)
            try:
                yield opened
            finally:
                if endpoint.counts.calls:
                    bar.write(f"{description}: {opened.summary()}", file=sys.stderr)


def ask_all(
    requests: Sequence[ChatRequest], served: ServedModel, settings: RequestSettings, *, stage: str, description: str
) -> list[ChatResponse | NoReply]:
    """Send requests that do not depend on each other; return the replies in their order. Arguments as for `session`."""

    async def run() -> list[ChatResponse | NoReply]:
        total = len(requests)
        async with session(served, settings, stage=stage, total=total, description=description) as opened:
            return await opened.gather([partial(opened.complete, request) for request in requests])

    return asyncio.run(run())


@dataclass(frozen=True)
class Estimate:
    """What requests will cost at most, without retries."""

    cached: int  # requests whose response is in the cache
    amount: Amount  # of the others; the tokens of prompts are estimated from their length
    priced: bool  # whether the entry has prices; the cost is unknown otherwise

    def __str__(self) -> str:
        cost = f"cost {self.amount.cost:,.2f}" if self.priced else "cost unknown (the entry has no prices)"
        return (
            f"{self.cached:,} cached, {self.amount.calls:,} calls, about {self.amount.prompt_tokens:,} prompt tokens, "
            f"at most {self.amount.completion_tokens:,} completion tokens, {cost}"
        )


def estimate(requests: Sequence[ChatRequest], served: ServedModel) -> Estimate:
    """Estimate the cost of requests without sending any."""
    with response_cache.open_cache() as cache:
        unique = {response_cache.digest(served.url, request): request for request in requests}
        missing = [request for request in unique.values() if cache.get(served.url, request) is None]
    amount = sum((expected(request, served.prices) for request in missing), Amount())
    return Estimate(cached=len(requests) - len(missing), amount=amount, priced=served.prices is not None)


def spent(stage: str) -> Amount:
    """Return what a stage has spent in all its runs in this checkout."""
    with response_cache.open_cache() as cache:
        return cache.spent(stage)
