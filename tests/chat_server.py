"""A fake OpenAI-compatible server on loopback. It returns scripted replies and records requests."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Sent:
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before the reply


@dataclass
class Served:
    url: str
    asked: list[dict] = field(default_factory=list)  # the requests' bodies, in the order of arrival
    authorization: list[str | None] = field(default_factory=list)
    most_at_once: int = 0


def said(text: str, *, finish: str = "stop", tokens: int = 3, delay: float = 0.0) -> Sent:
    """A completion with a text."""
    return completed({"content": text}, finish=finish, tokens=tokens, delay=delay)


def refused(status: int, **error: object) -> Sent:
    """An error reply."""
    return Sent(status=status, body=json.dumps({"error": error}), headers={"Content-Type": "application/json"})


def completed(message: dict, *, finish: str | None, tokens: int = 3, delay: float = 0.0) -> Sent:
    """A completion with any message."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    completion = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }
    return Sent(body=json.dumps(completion), headers={"Content-Type": "application/json"}, delay=delay)


@contextmanager
def serving(answer: Callable[[dict, int], Sent]) -> Iterator[Served]:
    """`answer` is called with a request's body and its number, from 0."""
    served, lock, working = Served(url=""), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(served.asked)
                served.asked.append(body)
                served.authorization.append(self.headers.get("Authorization"))
                working[0] += 1
                served.most_at_once = max(served.most_at_once, working[0])
            sent = answer(body, number)
            time.sleep(sent.delay)
            with lock:
                working[0] -= 1
            payload = sent.body.encode()
            try:
                self.send_response(sent.status)
                for name, value in sent.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has timed out

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
