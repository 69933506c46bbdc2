"""Judging over HTTP: verdicts in both orders against bare aiohttp with a semaphore, on a server that fails.

The server is a process of its own on loopback. It answers after 100 ms; one call in twenty fails, in turn with 429,
500, no answer at all and a broken connection. Both sides repeat failed calls.

Other peers are the runners of AlpacaEval and of FastChat's MT-Bench, with the same instructions and answers and as many
calls at a time. Each lives in an environment of its own, because they need different versions of openai:
ALPACA_EVAL_PYTHON names a Python with alpaca-eval (0.6.6), FASTCHAT_PYTHON one with fschat[llm_judge,model_worker]
(0.2.36). Without them their claims are left out, which is said.
"""

import asyncio
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

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
PEER_PAIRS = 600  # pairs that AlpacaEval and FastChat judge
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
    yield from runners()


def runners() -> Iterator[Claim]:
    """Answers per second, from the first request that the server receives to its last answer, without start-up."""
    peers: dict[str, Callable[[str, str, Path], None]] = {
        "ALPACA_EVAL_PYTHON": alpaca_eval,
        "FASTCHAT_PYTHON": fastchat,
    }
    for variable, run in peers.items():
        python = os.environ.get(variable)
        if not python:
            print(f"{variable} names no interpreter: no claim beside {run.__name__}", file=sys.stderr)
            continue
        with served() as url, tempfile.TemporaryDirectory() as folder:
            os.environ[VARIABLE] = str(Path(folder) / "cache.sqlite")
            judge(url, PEER_PAIRS)
            ours = answers_per_second(url)
            run(python, url, Path(folder))
            words = f"Answers to requests, 64 at a time, 5 % of them failing; peer {run.__name__}'s runner"
            yield claim(words, ours=ours, peer=answers_per_second(url), unit="answers/s", target="≥ 1")


def answers_per_second(url: str) -> float:
    """Of the requests since the last call."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/span") as reply:  # noqa: S310 - a server on loopback
        span = json.load(reply)
    return float(span["answers"] / (span["last"] - span["first"]))


def write_json(path: Path, rows: list[dict[str, Any]], *, lines: bool = False) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows))
    return str(path)


def alpaca_eval(python: str, url: str, folder: Path) -> None:
    """Its command line, with our instructions; it shows each pair in one, random, order."""
    pages = [
        [
            {"instruction": f"Question {number}?", "output": f"{name} {number} " * 100, "generator": name}
            for number in range(PEER_PAIRS)
        ]
        for name in ("first", "second")
    ]
    template = templates.load("pairwise", "pairwise")
    names = {"prompt": "{instruction}", "answer_a": "{output_1}", "answer_b": "{output_2}"}
    turns = templates.turns(template, names)
    (folder / "judge").mkdir()
    (folder / "judge/prompt.txt").write_text(
        "".join(f"<|im_start|>{turn.role}\n{turn.content}\n<|im_end|>\n" for turn in turns)
    )
    settings = {
        "prompt_template": str(folder / "judge/prompt.txt"),
        "fn_completions": "openai_completions",
        "completions_kwargs": {"model_name": "gpt-4", "max_tokens": 64, "temperature": 0},
        "fn_completion_parser": "regex_parser",
        "completion_parser_kwargs": {"outputs_to_match": {"1": "VERDICT: TIE"}},
        "batch_size": 1,
    }
    written = json.dumps({"judge": settings}).replace('"1": ', "1: ")  # JSON is YAML, but keys of JSON are not numbers
    (folder / "judge/configs.yaml").write_text(written)
    client = {"api_key": "none", "base_url": url, "max_retries": SETTINGS.retries, "timeout": TIMEOUT}
    (folder / "clients.yaml").write_text(json.dumps({"default": [client]}))
    command = [python, "-m", "alpaca_eval.main", "evaluate", "--annotators_config", str(folder / "judge")]
    command += ["--model_outputs", write_json(folder / "first.json", pages[0])]
    command += ["--reference_outputs", write_json(folder / "second.json", pages[1])]
    command += ["--output_path", str(folder / "out"), "--precomputed_leaderboard", "None", "--fn_metric", "get_winrate"]
    command += ["--sort_by", "win_rate", "--caching_path", "None"]
    environment = {
        "OPENAI_CLIENT_CONFIG_PATH": str(folder / "clients.yaml"),
        "OPENAI_MAX_CONCURRENCY": str(CONCURRENCY),
    }
    run_peer(command, folder, environment)


def fastchat(python: str, url: str, folder: Path) -> None:
    """MT-Bench's gen_judgment with our instructions; it shows each pair in both orders."""
    data = folder / "data/mt_bench"
    questions = [
        {"question_id": number, "category": "writing", "turns": [f"Question {number}?"]} for number in range(PEER_PAIRS)
    ]
    write_json(data / "question.jsonl", questions, lines=True)
    for name in ("first", "second"):
        answers = [
            {"question_id": n, "model_id": name, "choices": [{"index": 0, "turns": [f"{name} {n} " * 100]}]}
            for n in range(PEER_PAIRS)
        ]
        write_json(data / f"model_answer/{name}.jsonl", answers, lines=True)
    template = templates.load("pairwise", "pairwise")
    fields = {"prompt": "{question}", "answer_a": "{answer_a}", "answer_b": "{answer_b}"}
    system, user = (turn.content for turn in templates.turns(template, fields))
    prompts = [
        {"name": name, "type": "pairwise", "system_prompt": system, "prompt_template": user, "output_format": "[[A]]"}
        for name in ("pair-v2", "pair-v2-multi-turn", "pair-math-v1", "pair-math-v1-multi-turn")
    ]
    write_json(folder / "data/judge_prompts.jsonl", prompts, lines=True)
    command = [python, "-m", "fastchat.llm_judge.gen_judgment", "--mode", "pairwise-baseline", "--judge-model", "gpt-4"]
    command += ["--model-list", "first", "--baseline-model", "second", "--parallel", str(CONCURRENCY)]
    run_peer(command, folder, {"OPENAI_API_BASE": url, "OPENAI_API_KEY": "none"})
    judged = (data / "model_judgment/gpt-4_pair.jsonl").read_text().splitlines()
    assert len(judged) == PEER_PAIRS


def run_peer(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    hidden = ("PYTHONPATH",)  # of this project
    env = {name: value for name, value in os.environ.items() if name not in hidden} | environment
    done = subprocess.run(command, cwd=folder, env=env, input="\n", text=True, capture_output=True, timeout=900)
    if done.returncode:
        sys.exit(f"{command[2]} ended with status {done.returncode}:\n{done.stderr[-2000:]}")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def requests(pairs: int = PAIRS) -> list[ChatRequest]:
    """Both orders of each pair."""
    template = templates.load("pairwise", "pairwise")
    made = []
    for number in range(pairs):
        answers = [f"{name} {number} " * 100 for name in ("first", "second")]
        for a, b in (answers, answers[::-1]):
            turns = templates.turns(template, {"prompt": f"Question {number}?", "answer_a": a, "answer_b": b})
            made.append(ChatRequest(model="m", messages=turns, options=OPTIONS, attempt=0))
    return made


def judge(url: str, pairs: int = PAIRS) -> None:
    """Build the prompts, ask, store and parse."""
    served_model = ServedModel(kind="endpoint", url=url, model="m", key_variable="")
    replies = chat_session.ask_all(requests(pairs), served_model, SETTINGS, stage="judge", description="judge")
    values = {
        verdicts.parse(reply.text, TASKS["pairwise"].labels) for reply in replies if isinstance(reply, ChatResponse)
    }
    assert len(replies) == 2 * pairs
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


def error(message: str) -> dict[str, object]:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


def serve(connection: Connection) -> None:
    numbers = itertools.count(1)
    span = {"first": 0.0, "last": 0.0, "answers": 0.0}
    message = {"role": "assistant", "content": "Both serve the need alike.\n[[C]]\nVERDICT: TIE"}
    usage = {"prompt_tokens": 300, "completion_tokens": 12, "total_tokens": 312}
    completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
    completion["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]

    async def answer(request: web.Request) -> web.Response:
        span["first"] = span["first"] or time.monotonic()
        await request.read()
        await asyncio.sleep(DELAY)
        if next(numbers) % EVERY:
            span["last"] = time.monotonic()
            span["answers"] += 1
            return web.json_response(completion)
        match next(FAULTS):
            case "hang":
                await asyncio.sleep(10 * TIMEOUT)
            case "cut":
                assert request.transport
                request.transport.abort()
            case "429":
                return web.json_response(error("rate limit"), status=429, headers={"Retry-After": "0"})
        return web.json_response(error("broken"), status=500)

    async def measured(request: web.Request) -> web.Response:
        values = dict(span)
        span.update(dict.fromkeys(span, 0.0))
        return web.json_response(values)

    async def run() -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", answer)
        app.router.add_get("/span", measured)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        connection.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())
