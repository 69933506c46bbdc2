"""`lima annotate` under load on loopback: time until the first page, time per item and turn, memory, and kills.

`python -m benchmarks.annotation serve FOLDER` is the measured server: 1,000 pairs of answers, and conversations with
contestants that write at a fixed speed. `python -m benchmarks.annotation bare FOLDER` is its peer: a FastAPI server
that commits each request to SQLite and returns a fixed item. `python -m benchmarks.annotation kills` runs only the
kills.
"""

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from benchmarks.claims import Claim, claim

ITEMS = 1000
PEOPLE = 30
TALKING = 10  # of the people; the others compare answers
JUDGED = 15  # items per person in the load test
EXCHANGES = 4  # of a conversation
HELD = 3  # conversations per talking person in the load test
THINKING = 2.0  # seconds between an item and its judgment, exponential mean
WORDS = 25  # of a contestant's response
PACE = 0.02  # seconds per word
KILLS = 20
PARAGRAPH = "An answer of **ordinary** length with `code`, a list and a formula $x^2$, as models write it. " * 6
CODE = "\n\n```python\ndef f(values):\n    return [value for value in values if value]\n```\n\n- one\n- two\n"
RESPONSE = "word " * WORDS


class PacedReplies:
    """A source of responses of fixed length and speed."""

    async def reply(
        self, contestant: str, messages: Sequence[object], identity: str, attempt: int
    ) -> AsyncIterator[str]:
        for word in re.findall(r"\S+\s", RESPONSE):
            await asyncio.sleep(PACE)
            yield word

    def close(self) -> None:
        """No process to end."""


def serve(folder: Path) -> None:
    from lima.annotation.app import create

    study, live = _study(folder)
    _run(create(study, open_access=True, annotations=folder / "annotations", live=live, source=PacedReplies()))


def _study(folder: Path):  # type: ignore[no-untyped-def]  # the benchmark imports the package where it uses it
    """The study of the measured server, and its evaluations with conversations."""
    from lima import config
    from lima.annotation.conversations import LiveEvaluation
    from lima.annotation.questions import Question, StudyEvaluation
    from lima.annotation.store import Store
    from lima.annotation.study import Study
    from lima.records import Turn

    turns = (Turn(role="user", content="How do I do this? Please explain."),)
    texts = [(f"{n} {PARAGRAPH}{CODE}", f"{n} {PARAGRAPH * 2}") for n in range(ITEMS)]
    questions = tuple(Question("e", "pairwise", f"p/{n}", 0, 0, turns, "a", "b", texts[n]) for n in range(ITEMS))
    settings = config.load().annotation
    rules = settings.conversations.model_copy(update={"per_person": 200, "exchanges": EXCHANGES})
    settings = settings.model_copy(update={"comprehension": False, "quota": ITEMS, "conversations": rules})
    study = Study([StudyEvaluation("e", "pairwise", questions)], Store(folder / "study.sqlite"), settings)
    return study, [LiveEvaluation("talk", "a", "b", {f"opening-{n}": f"Question {n}?" for n in range(100)})]


def bare(folder: Path) -> None:
    """The peer: what FastAPI, SQLite and the network need for a committed request and an item of the same size."""
    database = sqlite3.connect(folder / "bare.sqlite", check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE requests (id INTEGER PRIMARY KEY, body TEXT)")
    item = {"saved": True, "item": {"assignment": "a", "answers": [PARAGRAPH + CODE, PARAGRAPH * 2]}}
    app = FastAPI()

    @app.get("/")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/judgments")
    async def store(body: dict[str, str]) -> dict[str, object]:
        database.execute("INSERT INTO requests (body) VALUES (?)", [json.dumps(body)])
        return item

    _run(app)


def _run(app: FastAPI) -> None:
    from lima.annotation.checkout import KEEP_ALIVE

    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE
    )
    server = uvicorn.Server(config)

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await task

    asyncio.run(run())


class Server:
    """A server process; `started` is the time from its start until it listens, in seconds."""

    def __init__(self, folder: Path, kind: str = "serve") -> None:
        start = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.annotation", kind, str(folder)]
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


@dataclass
class Observed:
    """What the clients saw."""

    item_seconds: list[float] = field(default_factory=list)  # until a judgment is saved and the next item is there
    turn_seconds: list[float] = field(default_factory=list)  # until a message or a grade is saved
    judged: list[str] = field(default_factory=list)  # confirmed assignments
    said: list[tuple[str, int, str]] = field(default_factory=list)  # confirmed conversation, turn and what


async def log_in(client: httpx.AsyncClient, name: str) -> str:
    """Open a session; return the page with the tasks."""
    await client.post("/api/session", json={"pseudonym": name})
    page = (await client.get("/")).text
    client.headers["x-csrf-token"] = re.search(r'name="csrf" content="(\w+)"', page)[1]  # type: ignore[index]
    return page


def address_of(page: str, kind: str) -> str:
    return "/api" + re.search(rf"/{kind}/\w+", page)[0]  # type: ignore[index]


async def think(rng: random.Random, seconds: float) -> None:
    await asyncio.sleep(rng.expovariate(1 / seconds) if seconds else 0)


async def timed(times: list[float], request: Awaitable[httpx.Response]) -> httpx.Response:
    start = time.perf_counter()
    reply = await request
    times.append(time.perf_counter() - start)
    return reply


async def judge(address: str, name: str, *, count: int, thinking: float, observed: Observed) -> None:
    """One person: judge items; each request returns the next one."""
    rng = random.Random(name)
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        task = address_of(await log_in(client, name), "tasks")
        state = (await client.get(task)).json()
        for _ in range(count):
            await think(rng, thinking)
            body = {
                "assignment": state["item"]["assignment"],
                "version": 0,
                "request": f"request-{state['item']['assignment']}",
                "value": rng.choice(["first", "second", "tie"]),
                "seconds": 1.0,
            }
            reply = await timed(observed.item_seconds, client.post(f"{task}/judgments", json=body))
            assert reply.json()["saved"]
            observed.judged.append(body["assignment"])
            state = reply.json()["next"]


async def talk(address: str, name: str, *, count: int, thinking: float, observed: Observed) -> None:
    """One person: hold conversations and grade every response."""
    rng = random.Random(name)
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        api = address_of(await log_in(client, name), "conversations")
        held = 0
        while held < count:
            state = (await client.get(api)).json()
            if state["status"] == "pair":
                id_ = state["pair"]["assignment"]
                body = {"assignment": id_, "version": 0, "request": f"pair-{id_}", "value": "tie", "seconds": 1.0}
                await client.post(f"{api}/preferences", json=body)
                continue
            id_ = state["conversation"]["id"]
            for turn in range(EXCHANGES):
                await think(rng, thinking)
                await exchange(client, api, id_, turn, observed)
            await client.post(f"{api}/endings", json={"conversation": id_})
            held += 1


async def exchange(client: httpx.AsyncClient, api: str, id_: str, turn: int, observed: Observed) -> None:
    message = {"conversation": id_, "turn": turn, "request": f"say-{id_}-{turn}", "text": f"And {turn}?"}
    reply = await timed(observed.turn_seconds, client.post(f"{api}/messages", json=message))
    if reply.json()["saved"]:
        observed.said.append((id_, turn, "message"))
    stream = (await client.get(f"{api}/replies/{id_}")).text.splitlines()
    if '"response"' in stream[-1]:
        observed.said.append((id_, turn, "answer"))
    body = {
        "conversation": id_,
        "turn": turn,
        "version": 0,
        "request": f"grade-{id_}-{turn}",
        "value": "pass",
        "off_subject": False,
        "seconds": 1.0,
    }
    reply = await timed(observed.turn_seconds, client.post(f"{api}/grades", json=body))
    if reply.json()["saved"]:
        observed.said.append((id_, turn, "grade"))


async def request_bare(address: str, name: str, *, count: int, thinking: float, times: list[float]) -> None:
    rng = random.Random(name)
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        await client.get("/")
        for number in range(count):
            await think(rng, thinking)
            await timed(times, client.post("/judgments", json={"request": f"{name}-{number}", "value": "first"}))


async def load(address: str, *, thinking: float) -> Observed:
    """Everybody at once."""
    observed = Observed()
    people = [
        talk(address, f"t{thinking:g}-{n}", count=HELD, thinking=thinking, observed=observed)
        if n < TALKING
        else judge(address, f"p{thinking:g}-{n}", count=JUDGED, thinking=thinking, observed=observed)
        for n in range(PEOPLE)
    ]
    await asyncio.gather(*people)
    return observed


async def load_bare(address: str, *, thinking: float) -> list[float]:
    times: list[float] = []
    people = [
        request_bare(address, f"p{thinking:g}-{n}", count=JUDGED, thinking=thinking, times=times) for n in range(PEOPLE)
    ]
    await asyncio.gather(*people)
    return times


async def until_killed(address: str, round_: int, process: subprocess.Popen[str]) -> Observed:
    """Judge and talk without pauses until the server is killed; return what was confirmed."""
    observed = Observed()
    acts: list[Callable[..., Awaitable[None]]] = [judge, talk]
    people = [
        asyncio.ensure_future(act(address, f"k{round_}-{n}", count=500, thinking=0, observed=observed))
        for n in range(4)
        for act in acts
    ]
    while len(observed.judged) < 20 + 3 * round_ or len(observed.said) < 12 + round_:
        await asyncio.sleep(0.01)
    process.kill()
    await asyncio.gather(*people, return_exceptions=True)
    return observed


@dataclass
class Lost:
    judgments: int  # confirmed
    lost_judgments: int
    turns: int  # confirmed messages, answers and grades
    lost_turns: int
    interrupted: int  # answers in progress when the server was killed
    torn: int  # stored answers that are not whole


def lost_after_kills(folder: Path, kills: int) -> Lost:
    """Numbers of confirmed judgments and turns, and how many of them are missing after the kills."""
    from lima.annotation.conversations import Conversations

    judged: list[str] = []
    said: list[tuple[str, int, str]] = []
    for round_ in range(kills):
        server = Server(folder)
        observed = asyncio.run(until_killed(server.address, round_, server.process))
        judged += observed.judged
        said += observed.said
        server.process.wait(30)
    server = Server(folder)
    server.end(signal.SIGTERM)
    lines = (folder / "annotations/e.jsonl").read_text().splitlines()
    stored = [json.loads(line)["id"] for line in lines]
    assert len(stored) == len(set(stored))
    study, live = _study(folder)
    conversations = Conversations(study, live)
    people = {person.id: person for person in study.store.people()}
    turns: set[tuple[str, int, str]] = set()
    interrupted = torn = 0
    for id_, person in study.store.rows("SELECT id, person FROM conversations"):
        owner = people[person]
        for each in conversations.exchanges(conversations.conversation(str(id_), owner)):
            turns.add((str(id_), each.turn, "message"))
            if each.response is None:
                interrupted += 1
                continue
            torn += each.response != RESPONSE
            turns.add((str(id_), each.turn, "answer"))
            if study.store.assignment(str(each.assignment), owner)[1] is not None:
                turns.add((str(id_), each.turn, "grade"))
    study.store.close()
    return Lost(len(judged), len(set(judged) - set(stored)), len(said), len(set(said) - turns), interrupted, torn)


def measure() -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        peer = Server(Path(folder), "bare")
        first = []
        for _ in range(5):
            start = time.perf_counter()
            httpx.get(f"{server.address}/").raise_for_status()
            first.append(time.perf_counter() - start)
        bare_times = asyncio.run(load_bare(peer.address, thinking=THINKING))
        seen = asyncio.run(load(server.address, thinking=THINKING))
        bare_times += asyncio.run(load_bare(peer.address, thinking=THINKING))
        closed = asyncio.run(load(server.address, thinking=0.0))
        memory = server.memory()
        for process in (server, peer):
            process.end(signal.SIGTERM)
        name = f"{ITEMS:,} items, {PEOPLE} people, of whom {TALKING} talk"
        median = 1000 * statistics.median(seen.item_seconds)
        bare_median = 1000 * statistics.median(bare_times)
        yield _at_most("start of the server until it listens", server.started, 5, "s")
        yield _at_most("first page", max(first), 1, "s")
        yield _at_most(f"next item, {name}, {THINKING:g} s of thought: median", median, 100, "ms")
        yield _at_most("same, 95th percentile", 1000 * _p95(seen.item_seconds), 250, "ms")
        yield _at_most(
            "message or grade saved, same load: median", 1000 * statistics.median(seen.turn_seconds), 100, "ms"
        )
        yield _at_most("same, 95th percentile", 1000 * _p95(seen.turn_seconds), 250, "ms")
        words = "of the next item, peer a bare server"
        yield claim(f"median {words}", ours=median, peer=bare_median, unit="ms", target="≤ 5")
        bare_p95 = 1000 * _p95(bare_times)
        yield claim(
            f"95th percentile {words}", ours=1000 * _p95(seen.item_seconds), peer=bare_p95, unit="ms", target="≤ 5"
        )
        yield _at_most(
            f"next item, {name} without a pause: median", 1000 * statistics.median(closed.item_seconds), 1000, "ms"
        )
        yield _at_most("peak memory of the server", memory, 150, "MB")
    yield from measure_kills()


def measure_kills() -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as folder:
        lost = lost_after_kills(Path(folder), KILLS)
        yield _at_most(f"confirmed judgments lost in {KILLS} kills, of {lost.judgments:,}", lost.lost_judgments, 0, "")
        words = f"confirmed messages, answers and grades lost in {KILLS} kills, of {lost.turns:,}"
        yield _at_most(words, lost.lost_turns, 0, "")
        yield _at_most(f"partial answers stored, of {lost.interrupted} in progress", lost.torn, 0, "")


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _at_most(words: str, value: float, limit: float, unit: str) -> Claim:
    """The peer of these claims is the limit; of no lost judgment, one judgment."""
    return claim(words, ours=value, peer=limit or 1, unit=unit, target="≤ 1" if limit else "≤ 0")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", folder]:
            serve(Path(folder))
        case ["bare", folder]:
            bare(Path(folder))
        case ["kills"]:
            for measured in measure_kills():
                print(measured.model_dump_json())
        case _:
            for measured in measure():
                print(measured.model_dump_json())
