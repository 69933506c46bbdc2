"""Any OpenAI-compatible server, with retries and back-off; the only importer of openai.

A rate limit (429), a server's own trouble (5xx), a time-out and a broken connection pass. The next attempt waits as
long as Retry-After says, else 2^n seconds after n failures before, less a random share of up to a half, so that many
callers do not return together. A waiting caller keeps its slot: a server in trouble is asked less.

A question that still has no answer is a `NoReply`, so that the others go on: refused by a content filter, rejected,
timed out, empty. `EndpointError` is raised where no other question would be answered either: a wrong key, an unknown
model, an option that the server does not take, an address where nothing has ever answered, a server that went away.
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

SHOWN = 200  # characters of a server's words in an error
GONE = 8  # questions in a row that all retries left unanswered: the server has gone away
HOPELESS = 3  # rejected questions before any answer: it is not the questions that are wrong
PASSING = frozenset((408, 409, 425, 429))  # and every 5xx
FATAL = frozenset((401, 403, 404))
FILTERED = re.compile(  # in the body of a 4xx: a provider's filter stopped this one question
    r"content[_ -]?(?:filter|policy|management)|responsible_?ai|invalid_prompt|moderation|data_inspection|flagged"
    r"|safety system",
    re.IGNORECASE,
)
TOO_LONG = re.compile(r"context[_ ](?:length|window)|maximum context|prompt is too long|too many tokens", re.IGNORECASE)
OUT_OF_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE)
CUT = frozenset(("length", "max_tokens", "model_length"))  # finish reasons, in lower case


class EndpointError(LimaError):
    """A server that answers no question; says which server, why and what to do."""


@dataclass(frozen=True)
class Trouble:
    """An attempt without an answer."""

    reason: NoReplyReason
    says: str
    passes: bool = False
    wait: float | None = None  # seconds, where the server says how long
    fatal: bool = False  # no other question would be answered either


class Endpoint:
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
        self._client, self._key, self._retries, self._timeout = client, key, retries, timeout
        self._rng, self._sleep = np.random.default_rng(seed), sleep
        self._has_answered = False  # in this process
        self._known = known  # to answer, now or at another time
        self._given_up = 0  # questions in a row, after all retries
        self._rejected = 0  # questions before the first answer

    async def ask(self, question: ChatRequest) -> ChatResponse | NoReply:
        """Raises EndpointError. No text of a result or an error contains a part of the key."""
        attempt, outcome = 0, await self._attempt(question)
        while isinstance(outcome, Trouble) and outcome.passes and attempt < self._retries:
            pause = 2**attempt * self._rng.uniform(0.5, 1)
            await self._sleep(pause if outcome.wait is None else outcome.wait)
            attempt, outcome = attempt + 1, await self._attempt(question)
        if not isinstance(outcome, Trouble):
            return outcome
        self._given_up += outcome.passes
        times = "once" if attempt == 0 else f"{attempt + 1} times"
        if outcome.fatal or self._rejected >= HOPELESS:
            raise EndpointError(f"{self.url}, asked {times}: {outcome.says}")
        if self._given_up >= GONE:
            raise EndpointError(
                f"{self.url} has gone away: {self._given_up} questions in a row have no answer; the last one, asked "
                f"{times}: {outcome.says}"
            )
        return NoReply(reason=outcome.reason, detail=outcome.says)

    async def _attempt(self, question: ChatRequest) -> ChatResponse | NoReply | Trouble:
        """No exception leaves it: an error's context holds the request, and with it the key."""
        try:
            outcome = await self._once(question)
        except (openai.OpenAIError, TimeoutError, ValidationError) as error:
            return self._trouble(error, question)
        if not isinstance(outcome, Trouble):
            self._has_answered = self._known = True
            self._given_up = 0
        return outcome

    async def _once(self, question: ChatRequest) -> ChatResponse | NoReply | Trouble:
        async with asyncio.timeout(self._timeout):
            raw = await self._client.chat.completions.with_raw_response.create(
                model=question.model,
                messages=[_message(turn) for turn in question.messages],
                extra_body=question.options,
                extra_headers={} if self._key else {"Authorization": openai.Omit()},
            )
        completion = Completion.model_validate_json(raw.text)
        first = completion.choices[0]
        if first.finish_reason == "error":
            return Trouble("unavailable", "it ends its reply with an error; ask again later", passes=True)
        tokens = completion.usage.completion_tokens if completion.usage else None
        return self._read(first, tokens)

    def _read(self, choice: "Choice", tokens: int | None) -> ChatResponse | NoReply:
        """The answer in a completion; a completion can also be without one."""
        message, ended = choice.message, (choice.finish_reason or "").lower()
        if ended == "content_filter":
            return NoReply(reason="refused", detail="the provider's filter stopped the answer (content_filter)")
        text = message.text()
        if not reasoning_blocks.without(text).strip():
            if message.refused():
                detail = f"the model refuses: {self._shown(message.refused())}"
                return NoReply(reason="refused", detail=detail)
            thought = message.reasoning_content or message.reasoning or text.strip()
            lacks = "reasoning alone" if thought else "a tool call alone" if message.tool_calls else "no text"
            if ended in CUT:
                return NoReply(reason="truncated", detail=f"{lacks}, cut at the token limit; raise max_tokens")
            return NoReply(reason="empty", detail=f"{lacks}, finish reason {choice.finish_reason}")
        return ChatResponse(
            text=mask(text, self._secrets),
            finish="length" if ended in CUT else "stop",
            finish_reason=choice.finish_reason,
            tokens=tokens,
        )

    def _trouble(self, error: openai.OpenAIError | TimeoutError | ValidationError, question: ChatRequest) -> Trouble:
        match error:
            case openai.APIStatusError(status_code=status, response=response):
                wait = retry_after_seconds(response.headers.get("retry-after", ""), now=datetime.now(UTC))
                return self._status(status, response.text, wait, question)
            case TimeoutError() | openai.APITimeoutError():
                says = f"no answer within {self._timeout:g} s; raise the timeout in params.yaml"
                return Trouble("timed_out", says, passes=True, fatal=not self._known)
            case ValidationError():
                says = "its reply is no chat completion; does the url in params.yaml end in /v1?"
                return Trouble("malformed", says, passes=self._known, fatal=not self._known)
            case _:
                cause = self._shown(str(error.__cause__))
                says = f"no connection ({cause}); start the server, or mend the url in params.yaml"
                return Trouble("unavailable", says, passes=self._has_answered, fatal=not self._has_answered)

    def _status(self, status: int, body: str, wait: float | None, question: ChatRequest) -> Trouble:
        says = f"it says {status} {self._shown(body)!r}"
        if (status in PASSING or status >= 500) and not (status == 429 and OUT_OF_QUOTA.search(body)):
            lower = f"{says}; wait, or lower the concurrency"
            return Trouble("unavailable", lower, passes=True, wait=wait, fatal=not self._known)
        if status != 401 and FILTERED.search(body):
            return Trouble("refused", f"{says}; the provider's filter refuses this question")
        if status in (402, 429):
            return Trouble("rejected", f"{says}; the account has no credit left", fatal=True)
        if status in FATAL:
            return Trouble("rejected", f"{says}; check url, model and key in params.yaml", fatal=True)
        if TOO_LONG.search(body):
            return Trouble("rejected", f"{says}; this question is too long for the model")
        named = [name for name in question.options if re.search(rf"\b{re.escape(name)}\b", body)]
        if named and not self._has_answered:
            return Trouble("rejected", f"{says}; {_advice(named[0], list(question.options))}", fatal=True)
        self._rejected += not self._known
        return Trouble("rejected", f"{says}; check url, model and key in params.yaml")

    def _shown(self, text: str) -> str:
        """A server's words as an error shows them: redacted first and cut afterwards."""
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
    """What to change in params.yaml where a server does not take an option."""
    if option not in get_args(Option):
        return f"it does not take {option}: take it out of `extra` of this endpoint in params.yaml"
    instead = {"max_tokens": ["max_completion_tokens"], "max_completion_tokens": ["max_tokens"]}.get(option, [])
    others = [name for name in sent if name in get_args(Option) and name != option]
    return f"it does not take {option}: set `send: [{', '.join(instead + others)}]` for this endpoint in params.yaml"


class Part(BaseModel):
    """A piece of a message whose content is a list."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class Message(BaseModel):
    content: str | list[str | Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None  # as vLLM, SGLang and DeepSeek call it
    reasoning: str | None = None  # as Ollama and OpenRouter call it
    tool_calls: list[object] | None = None

    def text(self) -> str:
        """The answer; of a list of parts the text, without images and reasoning."""
        return "".join(part.text or "" for part in self._parts() if part.type in ("text", "output_text"))

    def refused(self) -> str:
        """The model's words where it refuses in a field of its own, else ""."""
        return self.refusal or "".join(part.refusal or "" for part in self._parts())

    def _parts(self) -> list[Part]:
        parts = self.content if isinstance(self.content, list) else [self.content or ""]
        return [Part(text=part) if isinstance(part, str) else part for part in parts]


class Choice(BaseModel):
    message: Message
    finish_reason: str | None = None


class Usage(BaseModel):
    completion_tokens: NonNegativeInt | None = None


class Completion(BaseModel):
    """What a server sends, as far as we read it."""

    choices: list[Choice] = Field(min_length=1)
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
    """An endpoint for as long as the block lasts; its key is the environment variable's, none where that is "".

    Args:
        known: whether this server has answered at another time; a single question without an answer is then no sign of
            a wrong address.
    """
    key = ""
    if key_variable:
        key = os.environ.get(key_variable, "")
        if not key:
            raise EndpointError(
                f"{redact(url, url_secrets(url))} needs a key, but the environment variable {key_variable} is not set; "
                "export it"
            )
        if not re.fullmatch(r"[!-~]+", key):
            raise EndpointError(
                f"the environment variable {key_variable} contains a space, a line break or a character outside ASCII; "
                "export the key again without it"
            )
    # Time-outs and retries are ours: of a whole request, and with the server's wishes obeyed. The library takes no
    # empty key, it would look for another one in the environment; the header of its stand-in is left out when asking.
    async with openai.AsyncOpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=None) as client:
        yield Endpoint(client, key=key, retries=retries, timeout=timeout, seed=seed, sleep=sleep, known=known)


def retry_after_seconds(retry_after: str, *, now: datetime) -> float | None:
    """A Retry-After header, a number of seconds or an HTTP date, as seconds from now; None where it is neither."""
    if re.fullmatch(r"\d+(\.\d+)?", retry_after):
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds())
