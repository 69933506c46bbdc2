"""Any OpenAI-compatible server, asked again while it cannot answer yet; the only importer of openai.

A rate limit (429), a server's own trouble (5xx), a time-out and a broken connection pass. The next attempt waits as
long as Retry-After says, else 2^n seconds after n failures before, less a random share of up to a half, so that many
callers do not return together. A waiting caller keeps its slot: a server in trouble is asked less. Whatever does not
pass stops at once. So does a connection that cannot be made, or a reply that is no completion, as long as the server
has never answered: then it is the address that is wrong.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import numpy as np
import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from lima.errors import LimaError
from lima.protocol import Question, Reply
from lima.records import Turn
from lima.redaction import mask, redact, url_secrets

SHOWN = 200  # characters of a server's words in an error


class EndpointError(LimaError):
    """A server that gives no answer; says which, why and what to do."""


@dataclass(frozen=True)
class Failure:
    passes: bool
    wait: float | None  # seconds, where the server says how long
    says: str


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
    ) -> None:
        url = str(client.base_url).rstrip("/")
        self._secrets = [secret for secret in (key, *url_secrets(url)) if secret]
        self.url = redact(url, self._secrets)
        self._client, self._key, self._retries, self._timeout = client, key, retries, timeout
        self._rng, self._sleep = np.random.default_rng(seed), sleep
        self._has_answered = False

    async def ask(self, question: Question) -> Reply:
        """Raises EndpointError, whose text contains no part of a key."""
        for attempt in range(self._retries + 1):
            try:
                reply = await self._once(question)
            except (openai.OpenAIError, TimeoutError, ValidationError) as error:
                failure = self._failure(error)
            else:
                self._has_answered = True
                return reply
            if not failure.passes or attempt == self._retries:
                break
            pause = 2**attempt * self._rng.uniform(0.5, 1)
            await self._sleep(pause if failure.wait is None else failure.wait)
        # Raised outside the handler: the error behind it holds the request, and with it the key.
        times = "once" if attempt == 0 else f"{attempt + 1} times"
        raise EndpointError(f"{self.url}, asked {times}: {failure.says}")

    async def _once(self, question: Question) -> Reply:
        async with asyncio.timeout(self._timeout):
            raw = await self._client.chat.completions.with_raw_response.create(
                model=question.model,
                messages=[_message(turn) for turn in question.messages],
                max_tokens=question.max_tokens,
                temperature=question.temperature,
                top_p=question.top_p,
                seed=question.seed,
                extra_headers={} if self._key else {"Authorization": openai.Omit()},
            )
        completion = Completion.model_validate_json(raw.text)
        first = completion.choices[0]
        return Reply(
            text=mask(first.message.content or "", self._secrets),
            finish="length" if first.finish_reason == "length" else "stop",
            tokens=completion.usage.completion_tokens if completion.usage else None,
        )

    def _failure(self, error: openai.OpenAIError | TimeoutError | ValidationError) -> Failure:
        match error:
            case openai.APIStatusError(status_code=status, response=response):
                shown = self._shown(response.text)
                if status == 429 or status >= 500:
                    wait = seconds(response.headers.get("retry-after", ""), now=datetime.now(UTC))
                    return Failure(True, wait, f"it says {status} {shown!r}; wait, or lower the concurrency")
                return Failure(False, None, f"it says {status} {shown!r}; check url, model and key in params.yaml")
            case TimeoutError() | openai.APITimeoutError():
                return Failure(True, None, f"no answer within {self._timeout:g} s; raise the timeout in params.yaml")
            case ValidationError():
                says = "its reply is no chat completion; does the url in params.yaml end in /v1?"
                return Failure(self._has_answered, None, says)
            case _:
                cause = self._shown(str(error.__cause__))
                says = f"no connection ({cause}); start the server, or mend the url in params.yaml"
                return Failure(self._has_answered, None, says)

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


class Message(BaseModel):
    content: str | None = None


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
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Endpoint]:
    """An endpoint for as long as the block lasts; its key is the environment variable's, none where that is ""."""
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
        yield Endpoint(client, key=key, retries=retries, timeout=timeout, seed=seed, sleep=sleep)


def seconds(retry_after: str, *, now: datetime) -> float | None:
    """A Retry-After header, a number of seconds or an HTTP date, as seconds from now; None where it is neither."""
    if re.fullmatch(r"\d+(\.\d+)?", retry_after):
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds())
