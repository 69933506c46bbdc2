"""Judging over HTTP: verdicts in both orders against bare aiohttp with a semaphore, on a server that fails.

The server is a process of its own on loopback. It answers after 100 ms; one call in twenty fails, in turn with 429,
500, no answer at all and a broken connection. Both sides repeat failed calls.
"""

import asyncio
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import aiohttp
from aiohttp import web

from benchmarks.claims import Claim, claim
from lima.chat_types import ChatRequest, ChatResponse
from lima.config.entries import ServedModel
from lima.config.sections import Budget, RequestSettings
from lima.evaluation import templates, verdicts
from lima.evaluation.tasks import TASKS
from lima.inference import chat_session
from lima.inference.response_cache import VARIABLE

PAIRS, CONCURRENCY, DELAY, EVERY = 1200, 64, 0.1, 20  # pairs, calls at a time, seconds, one failure in so many calls
FAULTS = itertools.cycle(("429", "500", "hang", "cut"))
TIMEOUT, RUNS, MAX_CPU = 1.0, 3, 2.0  # seconds, runs of each side in alternation, milliseconds
OPTIONS = {"max_tokens": 64, "temperature": 0.0, "top_p": 1.0, "seed": 0}
SETTINGS = RequestSettings(
    concurrency=CONCURRENCY,
    retries=9,
    timeout=TIMEOUT,
    max_retry_after=60.0,
    max_rate_limit_wait=600.0,
    max_failed_share=0.0,
    budget=Budget(calls=None, tokens=None, cost=None),
)


def measure() -> Iterator[Claim]:
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    with served() as url, tempfile.TemporaryDirectory() as folder:
        for run in range(RUNS):
            os.environ[VARIABLE] = str(Path(folder) / f"{run}.sqlite")  # a new cache, so that every call is made
            ours.append(timed(lambda: judge(url)))
            bodies = [body(request) for request in requests()]
            bare.append(timed(lambda sent=bodies: asyncio.run(bare_calls(url, sent))))  # type: ignore[misc]
    (seconds, cpu), (bare_seconds, bare_cpu) = (tuple(map(median, zip(*side, strict=True))) for side in (ours, bare))
    words = "Verdicts in both orders, 64 calls at a time, 5 % of them failing; cached; peer bare aiohttp"
    yield claim(words, ours=PAIRS / seconds, peer=PAIRS / bare_seconds, unit="verdicts/s", target="≥ 0.6")
    beyond = 1000 * (cpu - bare_cpu) / (2 * PAIRS)
    words = "CPU time per call beyond that of bare aiohttp, compared with the limit"
    yield claim(words, ours=beyond, peer=MAX_CPU, unit="ms", target="≤ 1")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def requests() -> list[ChatRequest]:
    """Both orders of each pair."""
    template = templates.load("pairwise", "pairwise")
    made = []
    for number in range(PAIRS):
        answers = [f"{name} {number} " * 100 for name in ("first", "second")]
        for a, b in (answers, answers[::-1]):
            turns = templates.turns(template, {"prompt": f"Question {number}?", "answer_a": a, "answer_b": b})
            made.append(ChatRequest(model="m", messages=turns, options=OPTIONS, attempt=0))
    return made


def judge(url: str) -> None:
    """Build the prompts, ask, store and parse."""
    served_model = ServedModel(kind="endpoint", url=url, model="m", key_variable="")
    replies = chat_session.ask_all(requests(), served_model, SETTINGS, stage="judge", description="judge")
    values = {
        verdicts.parse(reply.text, TASKS["pairwise"].labels) for reply in replies if isinstance(reply, ChatResponse)
    }
    assert len(replies) == 2 * PAIRS
    assert values == {"tie"}


def body(request: ChatRequest) -> dict[str, object]:
    return {"model": "m", "messages": [turn.model_dump() for turn in request.messages], **request.options}


async def bare_calls(url: str, bodies: list[dict[str, object]]) -> None:
    """The calls alone; failed ones are repeated at once. Nothing is parsed or stored."""
    slots = asyncio.Semaphore(CONCURRENCY)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:

        async def call(sent: dict[str, object]) -> None:
            async with slots:
                while True:
                    try:
                        async with asyncio.timeout(TIMEOUT), session.post(f"{url}/chat/completions", json=sent) as got:
                            if got.status == 200:
                                json.loads(await got.read())
                                return
                    except (TimeoutError, aiohttp.ClientError):
                        continue

        await asyncio.gather(*map(call, bodies))


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


def serve(connection: Connection) -> None:
    numbers = itertools.count(1)
    message = {"role": "assistant", "content": "Both serve the need alike.\nVERDICT: TIE"}
    usage = {"prompt_tokens": 300, "completion_tokens": 12, "total_tokens": 312}
    completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
    completion["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(DELAY)
        if next(numbers) % EVERY:
            return web.json_response(completion)
        match next(FAULTS):
            case "hang":
                await asyncio.sleep(10 * TIMEOUT)
            case "cut":
                assert request.transport
                request.transport.abort()
            case "429":
                return web.json_response({"error": "busy"}, status=429, headers={"Retry-After": "0"})
        return web.json_response({"error": "broken"}, status=500)

    async def run() -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        connection.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())
