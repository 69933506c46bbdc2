"""Client for OpenAI-compatible chat servers: retries with exponential backoff and jitter. The only importer of openai.

Server errors (5xx), timeouts and broken connections are retried a limited number of times. Rate limits (429) are
retried for a limited time. The delay is that of the Retry-After header, up to a maximum, and up to a tenth more at
random; else it is 2^n seconds after n earlier failures, reduced by up to a half at random. A request that waits does
not occupy one of the slots of `AdaptiveLimit`.

A request that still has no response returns `NoReply` (refused by a content filter, rejected, timed out, empty), and
other requests continue. `EndpointError` is raised if no other request can succeed either: wrong key, unknown model,
unsupported option, an account without credit, an address that has never responded, or a server that stopped responding.
"""

import asyncio
import os
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import get_args
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx2
import numpy as np
import openai
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, ValidationError
from pydantic_core import to_json

from lima.chat_types import ChatRequest, ChatResponse, NoReply, Option, prompt_tokens
from lima.config.entries import Prices, ServedModel
from lima.config.sections import RequestSettings
from lima.errors import LimaError
from lima.inference.adaptive_concurrency import AdaptiveLimit
from lima.inference.budget import Amount, Spending, expected, priced
from lima.records import NoReplyReason, Usage
from lima.redaction import mask, redact, url_secrets
from lima.text import reasoning_blocks

SHOWN = 200  # characters of a server's message in an error
MAX_CONSECUTIVE_FAILURES = 8  # requests that fail after all retries, before the server counts as unavailable
MAX_INITIAL_REJECTIONS = 3  # rejected requests before the first response: the settings are wrong, not the requests
MAX_INITIAL_MALFORMED = 3  # malformed replies before the first response: the address is wrong
RETRYABLE = frozenset((408, 409, 425, 429))  # and every 5xx
OVERLOADED = frozenset((429, 503, 529))
REQUEST_ERRORS = (  # of one attempt
    httpx2.HTTPError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    ssl.SSLError,
    TimeoutError,
    ValueError,  # such as a host name that cannot be encoded; pydantic's ValidationError
)
FIRST_BACKOFF = 1.0  # seconds before the second attempt, without jitter
KEEPALIVE = 5.0  # seconds that an unused connection stays open
MAX_JITTER = 0.1  # share by which a Retry-After is extended at random, so that waiting requests do not return together
FATAL = frozenset((401, 403, 404))
FILTERED = re.compile(  # in the body of a 4xx: the provider's content filter refused this request
    r"content[_ -]?(?:filter|policy|management)|responsible_?ai|invalid_prompt|moderation|data_inspection|flagged"
    r"|safety system",
    re.IGNORECASE,
)
TOO_LONG = re.compile(r"context[_ ](?:length|window)|maximum context|prompt is too long|too many tokens", re.IGNORECASE)
NO_MODEL = re.compile(  # in the body of a 400, which some servers send instead of 404
    r"invalid_model|model_not_found|\bmodel\b.{0,80}(?:does not exist|not found|decommissioned)|pinned to",
    re.IGNORECASE,
)
OUT_OF_QUOTA = re.compile(r"insufficient_(?:quota|funds|balance|credits)|billing_hard_limit", re.IGNORECASE)
QUOTA = re.compile(r"current quota|billing|credit balance", re.IGNORECASE)  # also in messages about rate limits
RATE = re.compile(r"per[_ -]?(?:second|minute|hour|day)|rate[_ ]limit|retry[_ ]?(?:delay|in|after)", re.IGNORECASE)
TRUNCATED = frozenset(("length", "max_tokens", "model_length"))  # finish reasons, in lower case


class EndpointError(LimaError):
    """The server responds to no request. The message names the server, the reason and the fix."""


@dataclass(frozen=True)
class FailedAttempt:
    """An attempt without a response."""

    reason: NoReplyReason
    message: str
    retryable: bool = False
    delay: float | None = None  # seconds, from the Retry-After header
    fatal: bool = False  # no other request can succeed either
    overloaded: bool = False  # the server receives too many requests
    rate_limited: bool = False  # retried for a time instead of a number of attempts


@dataclass
class RequestCounts:
    """Attempts of all requests to a server in this process."""

    calls: int = 0  # attempts
    retries: int = 0
    failures: int = 0  # requests without a response
    waiting: int = 0  # requests that wait before a retry
    tokens: int = 0  # of prompts and completions
    cost: float = 0.0


@dataclass
class Attempts:
    """The attempts of one request."""

    sent: int = 0
    failed: int = 0  # without rate limits
    rate_limited: int = 0
    waited: float = 0.0  # seconds, for rate limits


class Endpoint:
    """A server, with its retry policy, its slots for concurrent requests and a count of failures."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        http: httpx2.AsyncClient,
        *,
        url: str,
        key: str,
        settings: RequestSettings,
        prices: Prices | None,
        spending: Spending | None,
        seed: int,
        sleep: Callable[[float], Awaitable[None]],
        known: bool,
    ) -> None:
        self._secrets = [secret for secret in (key, *url_secrets(url)) if secret]
        self.url = redact(url.rstrip("/"), self._secrets)
        self.counts = RequestCounts()
        self.slots = AdaptiveLimit(settings.concurrency, sleep=sleep)
        self._http = http
        # `client.post` prepares each request anew, which takes twice the processor time of all the rest
        self._address = httpx2.URL(f"{str(client.base_url).rstrip('/')}/chat/completions")
        headers = {**client.default_headers, **(client.auth_headers if key else {})}
        self._headers = httpx2.Headers(
            {  # without statistics about this machine
                name: value
                for name, value in headers.items()
                if isinstance(value, str) and not name.startswith("X-Stainless-")
            },
            encoding="ascii",
        )
        self._settings = settings
        self._prices = prices
        self._spending = spending
        self._rng = np.random.default_rng(seed)
        self._sleep = sleep
        self._has_responded = False  # in this process
        self._known = known  # has responded, in this process or earlier
        self._consecutive_failures = 0  # requests, after all retries
        self._rejected = 0  # requests before the first response
        self._malformed = 0  # replies before the first response

    async def ask(self, request: ChatRequest) -> ChatResponse | NoReply:
        """Send a request, with retries. No text of the result or of an error contains a part of the key.

        Raises:
            EndpointError: no other request can succeed either.
            LimaError: `stop` was called.
        """
        attempts = Attempts()
        outcome = await self._attempt(request, attempts)
        while isinstance(outcome, FailedAttempt) and self._may_retry(outcome, attempts):
            await self._wait(self._delay(outcome, attempts))
            outcome = await self._attempt(request, attempts)
        if not isinstance(outcome, FailedAttempt):
            self.counts.failures += isinstance(outcome, NoReply)
            return outcome
        self.counts.failures += 1
        self._consecutive_failures += outcome.retryable
        tried = "1 attempt" if attempts.sent == 1 else f"{attempts.sent} attempts"
        if outcome.fatal or self._rejected >= MAX_INITIAL_REJECTIONS:
            raise self._stopped(f"request to {self.url} failed after {tried}: {outcome.message}")
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            raise self._stopped(
                f"server stopped responding: {self.url}; {self._consecutive_failures} consecutive requests failed, the "
                f"last one after {tried}: {outcome.message}"
            )
        return NoReply(reason=outcome.reason, detail=outcome.message)

    def stop(self, error: LimaError) -> None:
        """Send no more requests; those that wait raise the error, and those that were sent may end."""
        self.slots.close(error)

    def _stopped(self, message: str) -> EndpointError:
        error = EndpointError(message)
        self.stop(error)
        return error

    def _may_retry(self, failure: FailedAttempt, attempts: Attempts) -> bool:
        if not failure.retryable or self._malformed >= MAX_INITIAL_MALFORMED:
            return False
        if failure.rate_limited:
            attempts.rate_limited += 1
            return attempts.waited < self._settings.max_rate_limit_wait
        attempts.failed += 1
        return attempts.failed <= self._settings.retries

    def _delay(self, failure: FailedAttempt, attempts: Attempts) -> float:
        """Seconds before the next attempt."""
        longest = self._settings.max_retry_after
        if failure.delay is not None:
            delay = min(failure.delay, longest) * self._rng.uniform(1, 1 + MAX_JITTER)
        else:
            earlier = (attempts.rate_limited if failure.rate_limited else attempts.failed) - 1
            delay = min(FIRST_BACKOFF * 2.0**earlier, longest) * self._rng.uniform(0.5, 1)
        if failure.rate_limited:
            attempts.waited += delay
        return float(delay)

    async def _wait(self, seconds: float) -> None:
        """Sleep without a slot, until the time has passed or `stop` is called."""
        self.counts.retries += 1
        self.counts.waiting += 1
        tasks = {asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self.slots.closed())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.counts.waiting -= 1
            for task in tasks:
                task.cancel()

    async def _attempt(self, request: ChatRequest, attempts: Attempts) -> ChatResponse | NoReply | FailedAttempt:
        """Raises no exception of the client, since the context of such an error contains the request and the key."""
        window = await self.slots.acquire()
        reserved = expected(request, self._prices)
        try:
            if self._spending and (reason := await self._spending.reserve(reserved)):
                self.slots.cancel()
                return NoReply(reason="over_budget", detail=reason)
        except asyncio.CancelledError:
            self.slots.cancel()
            raise
        attempts.sent += 1
        self.counts.calls += 1
        actual = Amount(calls=1)
        try:
            outcome = await self._send(request, attempts.sent)
            actual += self._charged(outcome)
        except REQUEST_ERRORS as error:
            outcome = self._failure(error)
        except BaseException:
            self.slots.cancel()
            raise
        finally:
            if self._spending:
                self._spending.settle(reserved, actual)
        if isinstance(outcome, FailedAttempt):
            delay = min(outcome.delay or 0.0, self._settings.max_retry_after)
            self.slots.release(window, overloaded=outcome.overloaded, pause=delay)
        else:
            self.slots.release(window, overloaded=False)
            self._has_responded = self._known = True
            self._consecutive_failures = 0
        return outcome

    def _charged(self, outcome: ChatResponse | NoReply | FailedAttempt) -> Amount:
        """Tokens and cost of an attempt."""
        usage = None if isinstance(outcome, FailedAttempt) else outcome.usage
        if not usage:
            return Amount()
        charged = Amount(0, usage.prompt_tokens or 0, usage.completion_tokens or 0, usage.cost or 0.0)
        self.counts.tokens += charged.tokens
        self.counts.cost += charged.cost
        return charged

    async def _send(self, request: ChatRequest, attempt: int) -> ChatResponse | NoReply | FailedAttempt:
        body = {"model": request.model, "messages": [turn.model_dump() for turn in request.messages], **request.options}
        sent = httpx2.Request("POST", self._address, headers=self._headers, content=to_json(body))
        started = time.monotonic()
        async with asyncio.timeout(self._settings.timeout):
            response = await self._http.send(sent)
        if not response.is_success:
            delay = retry_delay(response.headers, now=datetime.now(UTC))
            return self._status_failure(response.status_code, response.text, delay, request)
        completion = Completion.model_validate_json(response.content)
        first = completion.choices[0]
        if first.finish_reason == "error":
            message = "the reply has finish reason 'error'; try again later"
            return FailedAttempt("unavailable", message, retryable=True)
        counted = completion.usage or CompletionUsage()
        usage = Usage(
            model=completion.model if completion.model is None else self._shown(completion.model),
            prompt_tokens=counted.prompt_tokens,
            completion_tokens=counted.completion_tokens,
            cost=counted.cost,
            seconds=round(time.monotonic() - started, 3),
            attempts=attempt,
        )
        return self._read(first, priced(usage, self._prices))

    def _read(self, choice: "CompletionChoice", usage: Usage) -> ChatResponse | NoReply:
        """The response in a completion, if it has one."""
        message, finish_reason = choice.message, (choice.finish_reason or "").lower()
        if finish_reason == "content_filter":
            detail = "the provider's content filter stopped the response (content_filter)"
            return NoReply(reason="refused", detail=detail, usage=usage)
        text = message.text()
        if not reasoning_blocks.without(text).strip():
            refusal = message.refusal_text()
            if refusal:
                return NoReply(reason="refused", detail=f"the model refuses: {self._shown(refusal)}", usage=usage)
            reasoning = message.reasoning_content or message.reasoning or text.strip()
            content = "only reasoning" if reasoning else "only a tool call" if message.tool_calls else "no text"
            if finish_reason in TRUNCATED:
                return NoReply(reason="truncated", detail=f"{content}, truncated; raise max_tokens", usage=usage)
            detail = f"{content}, finish reason {self._shown(str(choice.finish_reason))}"
            return NoReply(reason="empty", detail=detail, usage=usage)
        return ChatResponse(
            text=mask(text, self._secrets),
            finish="length" if finish_reason in TRUNCATED else "stop",
            finish_reason=None if choice.finish_reason is None else self._shown(choice.finish_reason),
            usage=usage,
        )

    def _failure(self, error: Exception) -> FailedAttempt:
        match error:
            case TimeoutError():
                message = f"timeout after {self._settings.timeout:g} s; raise the timeout in params.yaml"
                return FailedAttempt("timed_out", message, retryable=True, fatal=not self._known, overloaded=True)
            case ValidationError():
                self._malformed += not self._known
                message = "the reply is not a chat completion; check that the url in params.yaml ends in /v1"
                return FailedAttempt("malformed", message, retryable=True, fatal=not self._known)
            case _:
                return self._connection_failure(error)

    def _connection_failure(self, error: BaseException) -> FailedAttempt:
        """A connection that was refused is not retried before the first response: the address is wrong."""
        causes = [error]
        while causes[-1].__cause__:
            causes.append(causes[-1].__cause__)
        shown = self._shown(str(causes[-1]) or type(causes[-1]).__name__)
        if any(isinstance(cause, aiohttp.ClientConnectorError | ValueError) for cause in causes):
            message = f"cannot connect ({shown}); start the server or correct the url in params.yaml"
            return FailedAttempt("unavailable", message, retryable=self._has_responded, fatal=not self._has_responded)
        message = f"connection broken ({shown}); try again later"
        return FailedAttempt("unavailable", message, retryable=True, fatal=not self._known)

    def _status_failure(self, status: int, body: str, delay: float | None, request: ChatRequest) -> FailedAttempt:
        error = f"status {status} {self._shown(body)!r}"
        rate_limited = status == 429 and not is_out_of_quota(body, delay)
        if rate_limited or (status != 429 and (status in RETRYABLE or status >= 500)):
            failure = FailedAttempt("unavailable", f"{error}; wait or lower the concurrency", retryable=True)
            return replace(
                failure,
                delay=delay,
                fatal=not self._known,
                overloaded=status in OVERLOADED,
                rate_limited=rate_limited,
            )
        if status != 401 and FILTERED.search(body):
            return FailedAttempt("refused", f"{error}; the provider's content filter refuses this request")
        if status in (402, 429):
            return FailedAttempt("rejected", f"{error}; the account has no credit left", fatal=True)
        if status in FATAL or (status == 400 and not self._has_responded and NO_MODEL.search(body)):
            return FailedAttempt("rejected", f"{error}; check url, model and key in params.yaml", fatal=True)
        if TOO_LONG.search(body):
            message = f"{error}; the request has about {prompt_tokens(request):,} tokens, too many for the model"
            return FailedAttempt("too_long", message)
        unsupported = [name for name in request.options if re.search(rf"\b{re.escape(name)}\b", body)]
        if unsupported and not self._has_responded:
            advice = _advice(unsupported[0], list(request.options))
            return FailedAttempt("rejected", f"{error}; {advice}", fatal=True)
        self._rejected += not self._known
        return FailedAttempt("rejected", f"{error}; check url, model and key in params.yaml")

    def _shown(self, text: str) -> str:
        """A server's message for an error: redacted first and truncated afterwards."""
        return redact(text, self._secrets)[:SHOWN]


def is_out_of_quota(body: str, delay: float | None) -> bool:
    """Whether a 429 means that the account has no credit left. Some messages about rate limits also mention a quota."""
    if OUT_OF_QUOTA.search(body):
        return True
    return bool(QUOTA.search(body)) and delay is None and not RATE.search(body)


def _advice(option: str, sent: list[str]) -> str:
    """How to change params.yaml if the server does not support an option."""
    if option not in get_args(Option):
        return f"unsupported option {option}: remove it from `extra` of this endpoint in params.yaml"
    instead = {"max_tokens": ["max_completion_tokens"], "max_completion_tokens": ["max_tokens"]}.get(option, [])
    others = [name for name in sent if name in get_args(Option) and name != option]
    return f"unsupported option {option}: set `send: [{', '.join(instead + others)}]` for this endpoint in params.yaml"


class ContentPart(BaseModel):
    """A part of a message whose content is a list."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class CompletionMessage(BaseModel):
    content: str | list[str | ContentPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None  # field name of vLLM, SGLang and DeepSeek
    reasoning: str | None = None  # field name of Ollama and OpenRouter
    tool_calls: list[object] | None = None

    def text(self) -> str:
        """The response text; images and reasoning parts are left out."""
        return "".join(part.text or "" for part in self._parts() if part.type in ("text", "output_text"))

    def refusal_text(self) -> str:
        """The text of the refusal field, "" if it is missing."""
        return self.refusal or "".join(part.refusal or "" for part in self._parts())

    def _parts(self) -> list[ContentPart]:
        parts = self.content if isinstance(self.content, list) else [self.content or ""]
        return [ContentPart(text=part) if isinstance(part, str) else part for part in parts]


class CompletionChoice(BaseModel):
    message: CompletionMessage
    finish_reason: str | None = None


class CompletionUsage(BaseModel):
    prompt_tokens: NonNegativeInt | None = None
    completion_tokens: NonNegativeInt | None = None
    cost: NonNegativeFloat | None = None  # field name of OpenRouter


class Completion(BaseModel):
    """A chat completion: the fields that are read."""

    model: str | None = None
    choices: list[CompletionChoice] = Field(min_length=1)
    usage: CompletionUsage | None = None


@asynccontextmanager
async def connected(
    served: ServedModel,
    settings: RequestSettings,
    *,
    seed: int,
    spending: Spending | None = None,
    known: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Endpoint]:
    """Open a client for the duration of the block.

    Args:
        served: the entry in params.yaml.
        settings: concurrency, retries and limits.
        seed: of the jitter.
        spending: the budget; None for no limit.
        known: whether this server has responded earlier; a first failure is then not a sign of a wrong address.

    Raises:
        EndpointError: the environment variable is not set or not a valid key.
    """
    url, key_variable = served.url, served.key_variable
    key = ""
    if key_variable:
        key = os.environ.get(key_variable, "")
        if not key:
            raise EndpointError(
                f"environment variable not set: {key_variable}; export it, {redact(url, url_secrets(url))} needs a key"
            )
        if not re.fullmatch(r"[!-~]+", key):
            raise EndpointError(
                f"environment variable {key_variable} contains a space, a line break or a character outside ASCII; "
                "export the key without it"
            )
    # Timeouts and retries of the library are off: ours apply to a whole request and obey Retry-After. With an empty key
    # the library would read another one from the environment; the header with the placeholder key is omitted.
    limits = httpx2.Limits(max_connections=settings.concurrency, keepalive_expiry=KEEPALIVE)
    async with (
        openai.DefaultAioHttpClient(limits=limits, auth=_basic_auth(url)) as http,
        openai.AsyncOpenAI(
            base_url=_without_userinfo(url), api_key=key or "none", max_retries=0, timeout=None, http_client=http
        ) as client,
    ):
        yield Endpoint(
            client,
            http,
            url=url,
            key=key,
            settings=settings,
            prices=served.prices,
            spending=spending,
            seed=seed,
            sleep=sleep,
            known=known,
        )


def _basic_auth(url: str) -> httpx2.BasicAuth | None:
    """Credentials of a URL. In the URL itself, aiohttp rejects them beside another Authorization header."""
    parts = urlsplit(url)
    return httpx2.BasicAuth(unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def retry_delay(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds to wait, from the headers Retry-After-Ms (milliseconds) or Retry-After."""
    milliseconds = retry_after_seconds(headers.get("retry-after-ms", ""), now=now)
    return retry_after_seconds(headers.get("retry-after", ""), now=now) if milliseconds is None else milliseconds / 1000


def retry_after_seconds(retry_after: str, *, now: datetime) -> float | None:
    """Parse a Retry-After header (seconds or an HTTP date) as seconds from now; None if it is neither."""
    if re.fullmatch(r"\d+(\.\d+)?", retry_after):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
