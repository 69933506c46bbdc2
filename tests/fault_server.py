"""An OpenAI-compatible server on loopback that fails in many ways; the failures of a request depend on its text."""

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from aiohttp import web

KINDS = ("429", "429 now", "500", "503", "timeout", "cut", "cut body", "html", "no choices", "finish error", "stream")
HANG = 300.0  # seconds, longer than any timeout of a test
STREAM = 'data: {"choices": [{"delta": {"content": "Hel'


@dataclass
class Faulty:
    url: str = ""
    calls: list[str] = field(default_factory=list)  # the last turn of each request, in the order of arrival
    faults: Counter[str] = field(default_factory=Counter)
    go_on: threading.Event = field(default_factory=threading.Event)  # answers that are held back are sent


def fault(text: str, attempt: int, share: float) -> str | None:
    """The failure of an attempt, None for an answer; the same in every run."""
    digest = hashlib.sha256(f"{text}/{attempt}".encode()).digest()
    failing = int.from_bytes(digest[:4], "big") < share * 2**32
    return KINDS[digest[4] % len(KINDS)] if failing else None


def completion(text: str) -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m-1", "choices": [choice], "usage": usage}


async def fail(kind: str, request: web.Request) -> web.StreamResponse:
    match kind:
        case "429":
            return web.json_response({"error": {"message": "rate limit"}}, status=429)
        case "429 now":
            return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "0.01"})
        case "500" | "503":
            return web.Response(text="broken", status=int(kind))
        case "timeout":
            await asyncio.sleep(HANG)
        case "html":
            return web.Response(text="<html><body>Sign in</body></html>", content_type="text/html")
        case "no choices":
            return web.json_response({**completion(""), "choices": []})
        case "finish error":
            broken = completion("Half an ans")
            broken["choices"][0]["finish_reason"] = "error"
            return web.json_response(broken)
        case "stream":
            return web.Response(text=STREAM, content_type="text/event-stream")
    assert request.transport
    if kind == "cut body":
        response = web.StreamResponse(headers={"Content-Length": "400", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"choices": [{"mess')
    request.transport.abort()
    return web.Response()


@contextmanager
def faulty(*, share: float, answers: int | None = None) -> Iterator[Faulty]:
    """Serve answers `to TEXT`; `share` of the attempts fail; all but the first `answers` wait for `go_on`."""
    served, attempts, started, numbers = Faulty(), Counter[str](), threading.Event(), count()

    async def answer(request: web.Request) -> web.StreamResponse:
        text = json.loads(await request.read())["messages"][-1]["content"]
        served.calls.append(text)
        attempts[text] += 1
        if kind := fault(text, attempts[text], share):
            served.faults[kind] += 1
            return await fail(kind, request)
        number = next(numbers)
        while answers is not None and number >= answers and not served.go_on.is_set():
            await asyncio.sleep(0.01)
        return web.json_response(completion(f"to {text}"))

    async def serve() -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        started.set()
        await stop.wait()
        await runner.cleanup()
        hanging = asyncio.all_tasks() - {asyncio.current_task()}
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(timeout=300)
        yield served
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
