"""Chat requests and responses, independent of the transport, and a limit on requests without a response."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from pydantic import JsonValue, NonNegativeInt

from lima.errors import LimaError
from lima.records import NoReplyReason, Record, Turn, Usage

Option = Literal["max_tokens", "max_completion_tokens", "temperature", "top_p", "seed"]
ALL_OPTIONS: tuple[Option, ...] = ("max_tokens", "temperature", "top_p", "seed")


class ChatRequest(Record):
    """Everything a response depends on, except the server's address."""

    model: str
    messages: tuple[Turn, ...]
    options: dict[str, JsonValue]  # sent unchanged, together with model and messages
    attempt: NonNegativeInt  # index of this sample among several of one request; not sent


class ChatResponse(Record):
    """A response. It is never empty and never truncated by the provider's content filter."""

    text: str  # unchanged, with reasoning blocks
    finish: Literal["stop", "length"]
    finish_reason: str | None  # as sent by the server
    usage: Usage


class NoReply(Record):
    """The reason why a request has no response. The same request may succeed later."""

    reason: NoReplyReason
    detail: str
    usage: Usage | None = None  # None if no attempt was charged for


CompletionFn = Callable[[ChatRequest], Awaitable[ChatResponse | NoReply]]


class TooManyFailures(LimaError):
    """More requests without a response than the parameters allow."""


class FailureLimit:
    """Counts requests without a response; raises if their share exceeds a limit.

    Args:
        total: number of requests.
        share: greatest allowed share of requests without a response, 0 to 1.
        setting: name of the parameter, for the error message.
    """

    def __init__(self, total: int, *, share: float, setting: str) -> None:
        self._allowed = share * total
        self._total = total
        self._share = share
        self._setting = setting
        self._reasons = Counter[str]()
        self._last_detail = ""

    def count(self, failure: NoReply) -> None:
        """Count a failure. Raises TooManyFailures."""
        self._reasons[failure.reason] += 1
        self._last_detail = failure.detail
        self.check()

    def check(self) -> None:
        """Raises TooManyFailures if there are more failures than allowed."""
        failed = self._reasons.total()
        if failed > self._allowed:
            raise TooManyFailures(
                f"{failed} of {self._total} requests have no response ({counts(self._reasons)}), more than "
                f"{self._setting}: {self._share:g} allows; last failure: {self._last_detail}. Responses are cached: "
                f"fix the cause or raise {self._setting} in params.yaml, then run the stage again"
            )


def counts(reasons: Counter[str] | Counter[NoReplyReason]) -> str:
    """Format counts as `2 refused, 1 timed_out`, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def options(
    send: Sequence[Option],
    extra: Mapping[str, JsonValue],
    *,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> dict[str, JsonValue]:
    """Return the options of a request: the standard ones named in `send`, and all of `extra`."""
    values: dict[Option, JsonValue] = {
        "max_tokens": max_tokens,
        "max_completion_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    return {**{name: values[name] for name in send}, **extra}


def prompt_tokens(request: ChatRequest) -> int:
    """Estimate the tokens of a prompt: a quarter of its UTF-8 bytes, and four per turn for the chat template."""
    return sum(4 + -(-len(turn.content.encode()) // 4) for turn in request.messages)


def max_completion_tokens(request: ChatRequest) -> int | None:
    """Return the token limit of the response, None if the request has none."""
    limits = [request.options.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return next((limit for limit in limits if isinstance(limit, int)), None)
