"""`lima annotate` under load on loopback: time until the first page, time per item, memory, and kills.

`python -m benchmarks.annotation serve FOLDER` is the measured server: 1,000 pairs of answers.
"""

import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.claims import Claim, claim

ITEMS = 1000
PEOPLE = 30
JUDGED = 15  # items per person in the load test
THINKING = 2.0  # seconds between an item and its judgment, exponential mean
KILLS = 20
PARAGRAPH = "An answer of **ordinary** length with `code`, a list and a formula $x^2$, as models write it. " * 6
CODE = "\n\n```python\ndef f(values):\n    return [value for value in values if value]\n```\n\n- one\n- two\n"


def serve(folder: Path) -> None:
    import uvicorn

    from lima import config
    from lima.annotation.app import create
    from lima.annotation.checkout import KEEP_ALIVE
    from lima.annotation.questions import Question, StudyEvaluation
    from lima.annotation.store import Store
    from lima.annotation.study import Study
    from lima.records import Turn

    turns = (Turn(role="user", content="How do I do this? Please explain."),)
    texts = [(f"{n} {PARAGRAPH}{CODE}", f"{n} {PARAGRAPH * 2}") for n in range(ITEMS)]
    questions = tuple(Question("e", "pairwise", f"p/{n}", 0, 0, turns, "a", "b", texts[n]) for n in range(ITEMS))
    settings = config.load().annotation.model_copy(update={"comprehension": False, "quota": ITEMS})
    study = Study([StudyEvaluation("e", "pairwise", questions)], Store(folder / "study.sqlite"), settings)
    app = create(study, open_access=True, annotations=folder / "annotations")
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE
        )
    )

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await task

    asyncio.run(run())


class Server:
    """A server process; `started` is the time from its start until it listens, in seconds."""

    def __init__(self, folder: Path) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.annotation", "serve", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.started = time.perf_counter() - start

    def memory(self) -> float:
        """Peak resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1000  # type: ignore[index]

    def end(self, number: int) -> None:
        os.kill(self.process.pid, number)
        self.process.wait(30)


async def log_in(client: httpx.AsyncClient, name: str) -> str:
    """Open a session; return the address of the task."""
    await client.post("/api/session", json={"pseudonym": name})
    page = (await client.get("/")).text
    client.headers["x-csrf-token"] = re.search(r'name="csrf" content="(\w+)"', page)[1]  # type: ignore[index]
    return "/api" + re.search(r"/tasks/\w+", page)[0]  # type: ignore[index]


async def judge(address: str, name: str, *, items: int, thinking: float, times: list[float], saved: list[str]) -> None:
    """One person: judge items and record the time of each request, which returns the next item."""
    rng = random.Random(name)
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        task = await log_in(client, name)
        state = (await client.get(task)).json()
        for _ in range(items):
            await asyncio.sleep(rng.expovariate(1 / thinking) if thinking else 0)
            body = {
                "assignment": state["item"]["assignment"],
                "version": 0,
                "request": f"request-{state['item']['assignment']}",
                "value": rng.choice(["first", "second", "tie"]),
                "seconds": 1.0,
            }
            start = time.perf_counter()
            reply = await client.post(f"{task}/judgments", json=body)
            times.append(time.perf_counter() - start)
            assert reply.json()["saved"]
            saved.append(body["assignment"])
            state = reply.json()["next"]


async def load(address: str, *, thinking: float, items: int) -> list[float]:
    times: list[float] = []
    people = [
        judge(address, f"p{thinking:g}-{n}", items=items, thinking=thinking, times=times, saved=[])
        for n in range(PEOPLE)
    ]
    await asyncio.gather(*people)
    return times


async def until_killed(address: str, round_: int, process: subprocess.Popen[str]) -> list[str]:
    """Judge without pauses until the server is killed; return the confirmed assignments."""
    saved: list[str] = []
    people = [
        asyncio.create_task(judge(address, f"k{round_}-{n}", items=500, thinking=0, times=[], saved=saved))
        for n in range(8)
    ]
    while len(saved) < 20 + 7 * round_:
        await asyncio.sleep(0.01)
    process.kill()
    await asyncio.gather(*people, return_exceptions=True)
    return saved


def lost_after_kills(folder: Path, kills: int) -> tuple[int, int]:
    """Number of confirmed judgments, and how many of them are missing after the kills."""
    confirmed: list[str] = []
    for round_ in range(kills):
        server = Server(folder)
        confirmed += asyncio.run(until_killed(server.address, round_, server.process))
        server.process.wait(30)
    server = Server(folder)
    server.end(signal.SIGTERM)
    lines = (folder / "annotations/e.jsonl").read_text().splitlines()
    stored = [json.loads(line)["id"] for line in lines]
    assert len(stored) == len(set(stored))
    return len(confirmed), len(set(confirmed) - set(stored))


def measure() -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        first = []
        for _ in range(5):
            start = time.perf_counter()
            httpx.get(f"{server.address}/").raise_for_status()
            first.append(time.perf_counter() - start)
        times = asyncio.run(load(server.address, thinking=THINKING, items=JUDGED))
        closed = asyncio.run(load(server.address, thinking=0.0, items=JUDGED))
        memory = server.memory()
        server.end(signal.SIGTERM)
        name = f"{ITEMS:,} items, {PEOPLE} people"
        yield _at_most("start of the server until it listens", server.started, 5, "s")
        yield _at_most("first page", max(first), 1, "s")
        yield _at_most(
            f"next item, {name}, {THINKING:g} s of thought: median", 1000 * statistics.median(times), 100, "ms"
        )
        yield _at_most("same, 95th percentile", 1000 * statistics.quantiles(times, n=20)[-1], 250, "ms")
        yield _at_most(f"next item, {name} without a pause: median", 1000 * statistics.median(closed), 1000, "ms")
        yield _at_most("peak memory of the server", memory, 150, "MB")
    with tempfile.TemporaryDirectory() as folder:
        confirmed, lost = lost_after_kills(Path(folder), KILLS)
        yield _at_most(f"confirmed judgments lost in {KILLS} kills, of {confirmed:,}", lost, 0, "")


def _at_most(words: str, value: float, limit: float, unit: str) -> Claim:
    """The peer of these claims is the limit; of no lost judgment, one judgment."""
    return claim(words, ours=value, peer=limit or 1, unit=unit, target="≤ 1" if limit else "≤ 0")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", folder]:
            serve(Path(folder))
        case _:
            for measured in measure():
                print(measured.model_dump_json())
