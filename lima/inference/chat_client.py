"""Client for OpenAI-compatible chat servers: retries with exponential backoff and jitter. The only importer of openai.

Rate limits (429), server errors (5xx), timeouts and broken connections are retried. The delay is that of the
Retry-After header, else 2^n seconds after n earlier failures, reduced by up to a half at random. A waiting request
keeps its slot, so that an overloaded server receives fewer requests.

A request that still has no response returns `NoReply` (refused by a content filter, rejected, timed out, empty), and
other requests continue. `EndpointError` is raised if no other request can succeed either: wrong key, unknown model,
unsupported option, an address that has never responded, or a server that stopped responding.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import get_args

import numpy as np
import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from lima.chat_types import ChatRequest, ChatResponse, NoReply, Option
from lima.errors import LimaError
from lima.records import NoReplyReason, Turn
from lima.redaction import mask, redact, url_secrets
from lima.text import reasoning_blocks

SHOWN = 200  # characters of a server's message in an error
MAX_CONSECUTIVE_FAILURES = 8  # requests that fail after all retries, before the server counts as unavailable
MAX_INITIAL_REJECTIONS = 3  # rejected requests before the first response: the settings are wrong, not the requests
RETRYABLE = frozenset((408, 409, 425, 429))  # and every 5xx
FATAL = frozenset((401, 403, 404))
FILTERED = re.compile(  # in the body of a 4xx: the provider's content filter refused this request
    r"content[_ -]?(?:filter|policy|management)|responsible_?ai|invalid_prompt|moderation|data_inspection|flagged"
    r"|safety system",
    re.IGNORECASE,
)
TOO_LONG = re.compile(r"context[_ ](?:length|window)|maximum context|prompt is too long|too many tokens", re.IGNORECASE)
OUT_OF_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE)
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


class Endpoint:
    """A server, with its retry policy and a count of failures."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        *,
        key: str,
        retries: int,
        timeout: float,
        seed: int,
        sleep: Callable[[float], Awaitable[None]],
        known: bool,
    ) -> None:
        url = str(client.base_url).rstrip("/")
        self._secrets = [secret for secret in (key, *url_secrets(url)) if secret]
        self.url = redact(url, self._secrets)
        self._client = client
        self._key = key
        self._retries = retries
        self._timeout = timeout
        self._rng = np.random.default_rng(seed)
        self._sleep = sleep
        self._has_responded = False  # in this process
        self._known = known  # has responded, in this process or earlier
        self._consecutive_failures = 0  # requests, after all retries
        self._rejected = 0  # requests before the first response

    async def ask(self, request: ChatRequest) -> ChatResponse | NoReply:
        """Send a request, with retries. No text of the result or of an error contains a part of the key.

        Raises:
            EndpointError: no other request can succeed either.
        """
        retries, outcome = 0, await self._attempt(request)
        while isinstance(outcome, FailedAttempt) and outcome.retryable and retries < self._retries:
            backoff = 2**retries * self._rng.uniform(0.5, 1)
            await self._sleep(backoff if outcome.delay is None else outcome.delay)
            retries, outcome = retries + 1, await self._attempt(request)
        if not isinstance(outcome, FailedAttempt):
            return outcome
        self._consecutive_failures += outcome.retryable
        attempts = "1 attempt" if retries == 0 else f"{retries + 1} attempts"
        if outcome.fatal or self._rejected >= MAX_INITIAL_REJECTIONS:
            raise EndpointError(f"request to {self.url} failed after {attempts}: {outcome.message}")
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            raise EndpointError(
                f"server stopped responding: {self.url}; {self._consecutive_failures} consecutive requests failed, the "
                f"last one after {attempts}: {outcome.message}"
            )
        return NoReply(reason=outcome.reason, detail=outcome.message)

    async def _attempt(self, request: ChatRequest) -> ChatResponse | NoReply | FailedAttempt:
        """Raises no exception of the client, since the context of such an error contains the request and the key."""
        try:
            outcome = await self._send(request)
        except (openai.OpenAIError, TimeoutError, ValidationError) as error:
            return self._failure(error, request)
        if not isinstance(outcome, FailedAttempt):
            self._has_responded = self._known = True
            self._consecutive_failures = 0
        return outcome

    async def _send(self, request: ChatRequest) -> ChatResponse | NoReply | FailedAttempt:
        async with asyncio.timeout(self._timeout):
            raw = await self._client.chat.completions.with_raw_response.create(
                model=request.model,
                messages=[_message(turn) for turn in request.messages],
                extra_body=request.options,
                extra_headers={} if self._key else {"Authorization": openai.Omit()},
            )
        completion = Completion.model_validate_json(raw.text)
        first = completion.choices[0]
        if first.finish_reason == "error":
            message = "the reply has finish reason 'error'; try again later"
            return FailedAttempt("unavailable", message, retryable=True)
        tokens = completion.usage.completion_tokens if completion.usage else None
        return self._read(first, tokens)

    def _read(self, choice: "CompletionChoice", tokens: int | None) -> ChatResponse | NoReply:
        """The response in a completion, if it has one."""
        message, finish_reason = choice.message, (choice.finish_reason or "").lower()
        if finish_reason == "content_filter":
            detail = "the provider's content filter stopped the response (content_filter)"
            return NoReply(reason="refused", detail=detail)
        text = message.text()
        if not reasoning_blocks.without(text).strip():
            refusal = message.refusal_text()
            if refusal:
                return NoReply(reason="refused", detail=f"the model refuses: {self._shown(refusal)}")
            reasoning = message.reasoning_content or message.reasoning or text.strip()
            content = "only reasoning" if reasoning else "only a tool call" if message.tool_calls else "no text"
            if finish_reason in TRUNCATED:
                return NoReply(reason="truncated", detail=f"{content}, truncated; raise max_tokens")
            return NoReply(reason="empty", detail=f"{content}, finish reason {choice.finish_reason}")
        return ChatResponse(
            text=mask(text, self._secrets),
            finish="length" if finish_reason in TRUNCATED else "stop",
            finish_reason=choice.finish_reason,
            tokens=tokens,
        )

    def _failure(
        self, error: openai.OpenAIError | TimeoutError | ValidationError, request: ChatRequest
    ) -> FailedAttempt:
        match error:
            case openai.APIStatusError(status_code=status, response=response):
                delay = retry_after_seconds(response.headers.get("retry-after", ""), now=datetime.now(UTC))
                return self._status_failure(status, response.text, delay, request)
            case TimeoutError() | openai.APITimeoutError():
                message = f"timeout after {self._timeout:g} s; raise the timeout in params.yaml"
                return FailedAttempt("timed_out", message, retryable=True, fatal=not self._known)
            case ValidationError():
                message = "the reply is not a chat completion; check that the url in params.yaml ends in /v1"
                return FailedAttempt("malformed", message, retryable=self._known, fatal=not self._known)
            case _:
                cause = self._shown(str(error.__cause__))
                message = f"cannot connect ({cause}); start the server or correct the url in params.yaml"
                return FailedAttempt(
                    "unavailable", message, retryable=self._has_responded, fatal=not self._has_responded
                )

    def _status_failure(self, status: int, body: str, delay: float | None, request: ChatRequest) -> FailedAttempt:
        error = f"status {status} {self._shown(body)!r}"
        if (status in RETRYABLE or status >= 500) and not (status == 429 and OUT_OF_QUOTA.search(body)):
            message = f"{error}; wait or lower the concurrency"
            return FailedAttempt("unavailable", message, retryable=True, delay=delay, fatal=not self._known)
        if status != 401 and FILTERED.search(body):
            return FailedAttempt("refused", f"{error}; the provider's content filter refuses this request")
        if status in (402, 429):
            return FailedAttempt("rejected", f"{error}; the account has no credit left", fatal=True)
        if status in FATAL:
            return FailedAttempt("rejected", f"{error}; check url, model and key in params.yaml", fatal=True)
        if TOO_LONG.search(body):
            return FailedAttempt("rejected", f"{error}; the request is too long for the model")
        unsupported = [name for name in request.options if re.search(rf"\b{re.escape(name)}\b", body)]
        if unsupported and not self._has_responded:
            advice = _advice(unsupported[0], list(request.options))
            return FailedAttempt("rejected", f"{error}; {advice}", fatal=True)
        self._rejected += not self._known
        return FailedAttempt("rejected", f"{error}; check url, model and key in params.yaml")

    def _shown(self, text: str) -> str:
        """A server's message for an error: redacted first and truncated afterwards."""
        return redact(text, self._secrets)[:SHOWN]


def _message(turn: Turn) -> ChatCompletionMessageParam:
    match turn.role:
        case "system":
            return {"role": "system", "content": turn.content}
        case "user":
            return {"role": "user", "content": turn.content}
        case "assistant":
            return {"role": "assistant", "content": turn.content}


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


class Usage(BaseModel):
    completion_tokens: NonNegativeInt | None = None


class Completion(BaseModel):
    """A chat completion: the fields that are read."""

    choices: list[CompletionChoice] = Field(min_length=1)
    usage: Usage | None = None


@asynccontextmanager
async def connected(
    url: str,
    *,
    key_variable: str,
    retries: int,
    timeout: float,
    seed: int,
    known: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Endpoint]:
    """Open a client for the duration of the block.

    Args:
        key_variable: environment variable with the API key; "" for a server without a key.
        timeout: seconds for a whole request.
        seed: of the jitter.
        known: whether this server has responded earlier; a first failure is then not a sign of a wrong address.

    Raises:
        EndpointError: the environment variable is not set or not a valid key.
    """
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
    async with openai.AsyncOpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=None) as client:
        yield Endpoint(client, key=key, retries=retries, timeout=timeout, seed=seed, sleep=sleep, known=known)


def retry_after_seconds(retry_after: str, *, now: datetime) -> float | None:
    """Parse a Retry-After header (seconds or an HTTP date) as seconds from now; None if it is neither."""
    if re.fullmatch(r"\d+(\.\d+)?", retry_after):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
