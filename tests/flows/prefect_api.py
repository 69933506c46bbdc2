"""Requests to the API of a Prefect server."""

import json
import time
import urllib.error
import urllib.request

ATTEMPTS = 60  # of a request that the server is too busy for, a second apart; Prefect's own client repeats it too
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")  # types of a state


def call(url: str, body: object | None = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    for _ in range(ATTEMPTS - 1):
        try:
            return _once(request)
        except urllib.error.HTTPError as error:
            if error.code != 503:  # the server's database is busy
                raise
            time.sleep(1)
    return _once(request)


def _once(request: urllib.request.Request) -> object:
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read() or "null")


def answers(url: str) -> bool:
    """Whether a server answers a request with success."""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
