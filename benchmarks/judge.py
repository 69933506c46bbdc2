"""Judging over HTTP: both orders, retries and a kept reply a call, against a bare client with a semaphore.

The server is a process of its own on loopback. It answers after 100 ms, and one call in twenty with 503.
"""

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import openai
from aiohttp import web

from benchmarks.claims import Claim, claim, in_turn
from lima.config.entries import EndpointAnnotator
from lima.config.sections import Budget, Judge
from lima.evaluation import annotators, pairwise
from lima.records import Prompt, Provenance, Response, Turn

PAIRS, CONCURRENCY, DELAY, EVERY = 300, 64, 0.1, 20  # pairs, calls at a time, seconds, one failure in so many calls


def measure() -> Iterator[Claim]:
    shown, runs = pairs(), count()
    with served() as url, tempfile.TemporaryDirectory() as folder:
        annotator = EndpointAnnotator(kind="endpoint", url=url, model="m", key_variable="", max_tokens=64)
        judge = Judge(
            annotators=[],
            concurrency=CONCURRENCY,
            retries=5,
            timeout=30.0,
            max_retry_after=1.0,
            max_rate_limit_wait=1.0,
            budget=Budget(calls=None, tokens=None, cost=None),
            max_failed_share=0.0,
            seed=0,
        )

        def ours() -> None:
            said = annotators.annotate(
                shown,
                comparison="x",
                name="m",
                annotator=annotator,
                judge=judge,
                cache_path=Path(folder) / f"{next(runs)}.sqlite",  # a new one, so that every call is made
                done=lambda: None,
            )
            assert {verdict.outcome for verdict in said} == {"tie"}

        seconds = in_turn(ours, lambda: asyncio.run(bare(url, shown)), pairs=3)
    speeds = {"ours": PAIRS / seconds[0], "peer": PAIRS / seconds[1]}
    words = "Verdicts in both orders, parsed and kept, against a bare openai.AsyncOpenAI with a semaphore"
    yield claim(words, **speeds, unit="verdicts/s", target="≥ 0.9")


async def bare(url: str, shown: list[annotators.ResponsePair]) -> None:
    """The calls alone, with the client's own retries; nothing is parsed or kept."""
    turns = asyncio.Semaphore(CONCURRENCY)
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=5) as client:

        async def call(text: str) -> None:
            async with turns:
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])

        orders = [(p, first, second) for p, a, b in shown for first, second in ((a, b), (b, a))]
        await asyncio.gather(*(call(pairwise.instruction(p, a.text, b.text)) for p, a, b in orders))


def pairs() -> list[annotators.ResponsePair]:
    origin = Provenance(source="x", site="x", id="x", url="", author="", license="", digest="")
    made = []
    for number in range(PAIRS):
        prompt = Prompt(
            id=str(number), messages=(Turn(role="user", content=f"Question {number}?"),), tags=(), provenance=origin
        )
        a, b = (
            Response(prompt_id=prompt.id, contestant=name, sample=0, text=name * 400, finish="stop", tokens=400)
            for name in ("a", "b")
        )
        made.append(annotators.ResponsePair(prompt, a, b))
    return made


@contextmanager
def served() -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        server.terminate()
        server.join()


def serve(told: Connection) -> None:
    numbers = count(1)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(DELAY)
        if next(numbers) % EVERY == 0:
            return web.json_response({"error": "busy"}, status=503, headers={"Retry-After": "0"})
        message = {"role": "assistant", "content": "Both serve the need alike.\nVERDICT: TIE"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": int(time.time()), "model": "m", "choices": [choice]}
        )

    async def run() -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())
