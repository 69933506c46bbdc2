"""HTTP security of the annotation server: content policy, origin and host checks, limits of request bodies."""

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
SAFE_METHODS = frozenset(("GET", "HEAD"))
SECRET_PARAMETERS = frozenset(("token", "session", "key"))  # not in addresses, which end up in logs and Referer headers
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware that refuses unsafe requests and adds security headers to every response.

    Args:
        loopback_only: refuse requests whose Host is not a loopback name (DNS rebinding).
        max_body: bytes of a request.
    """

    def __init__(self, app: App, *, loopback_only: bool, max_body: int) -> None:
        self._app = app
        self._loopback_only = loopback_only
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers(scope["path"])]
            await send(message)

        if (refusal := self._refusal(scope, headers)) is not None:
            await _reply(guarded_send, *refusal)
            return
        body = await self._body(receive) if scope["method"] not in SAFE_METHODS else b""
        if body is None:
            await _reply(guarded_send, *self._too_large())
            return
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replayed, guarded_send)

    async def _body(self, receive: Receive) -> bytes | None:
        """The body of a request; None if it is too large."""
        parts: list[bytes] = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if sum(map(len, parts)) > self._max_body:
                return None
            if not message.get("more_body"):
                return b"".join(parts)

    def _too_large(self) -> tuple[int, str]:
        return 413, f"the request has more than {self._max_body} bytes; shorten it"

    def _headers(self, path: str) -> list[tuple[bytes, bytes]]:
        cached = path.startswith("/static/")
        caching = "private, max-age=300" if cached else "no-store"
        return [(name.encode(), value.encode()) for name, value in {**HEADERS, "cache-control": caching}.items()]

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._loopback_only and _name(host) not in LOOPBACK:
            return 400, f"unknown host: {host[:100]}; open the address that `lima annotate` prints"
        queries = (scope["query_string"].decode("latin-1"), headers.get("referer", "").partition("?")[2])
        if any(SECRET_PARAMETERS & parse_qs(query, keep_blank_values=True).keys() for query in queries):
            return 400, "a token is not accepted in the query of an address; use the invitation link unchanged"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._max_body:
            return self._too_large()
        if scope["method"] in SAFE_METHODS:
            return None
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "requests from other sites are refused; use the page of the study"
        if "origin" in headers and headers["origin"].partition("://")[2] != host:
            return 403, "requests from other sites are refused; use the page of the study"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "the request is not JSON; send application/json"
        return None


def csrf_token(secret: str, session: str) -> str:
    """The token that every request that changes data carries in the header X-CSRF-Token."""
    return hmac.new(secret.encode(), f"csrf\0{session}".encode(), "sha256").hexdigest()


def same(expected: str, actual: str) -> bool:
    """Comparison in constant time."""
    return hmac.compare_digest(expected.encode(), actual.encode())


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


async def _reply(send: Send, status: int, problem: str) -> None:
    body = json.dumps({"error": problem}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
