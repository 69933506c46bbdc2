"""One response at a time from an OpenAI-compatible server, streamed (server-sent events), for live conversations.

A failed request is not retried and no response is cached: the person who waits decides whether to try again.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import httpx2
from pydantic import BaseModel, ValidationError

from lima.config.entries import EndpointContestant
from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import endpoint
from lima.records import Prompt, Provenance, Turn
from lima.redaction import redact, url_secrets
from lima.text import reasoning_blocks

END = "[DONE]"  # last event of a stream
SHOWN = 200  # characters of a server's message in an error
PLACE = Provenance(source="chat", site="", id="", url="", author="", license="", digest="")


class StreamError(LimaError):
    """The server did not respond. The message names the server and the reason."""


class Delta(BaseModel):
    content: str | None = None


class ChunkChoice(BaseModel):
    delta: Delta


class Chunk(BaseModel):
    """An event of a stream: the fields that are read."""

    choices: list[ChunkChoice] = []


def stream(
    served: EndpointContestant,
    messages: Sequence[Turn],
    decoding: Decoding,
    *,
    conversation: str,
    sample: int,
    timeout: float,
) -> Iterator[str]:
    """Yield the pieces of a response, without reasoning blocks, as the server sends them.

    Args:
        conversation: identifies the conversation, for the seed.
        sample: of several responses to the same messages, for the seed.
        timeout: seconds without a byte from the server.

    Raises:
        StreamError: no connection, an error status, a timeout, or no text.
    """
    prompt = Prompt(id=f"{conversation}/{len(messages)}", messages=tuple(messages), tags=(), provenance=PLACE)
    request = endpoint.chat_request(prompt, sample, served=served, decoding=decoding)
    key = os.environ.get(served.key_variable, "") if served.key_variable else ""
    if served.key_variable and not key:
        raise StreamError(f"environment variable not set: {served.key_variable}; export it")
    secrets = [secret for secret in (key, *url_secrets(served.url)) if secret]
    server = redact(served.url.rstrip("/"), secrets)
    body = {
        "model": request.model,
        "messages": [turn.model_dump() for turn in messages],
        "stream": True,
        **request.options,
    }
    text = shown = ""
    try:
        for piece in _pieces(served.url, body, key=key, timeout=timeout):
            text += piece
            visible = reasoning_blocks.without(text)
            if visible.startswith(shown) and len(visible) > len(shown):
                yield visible[len(shown) :]
                shown = visible
    except (httpx2.HTTPError, httpx2.InvalidURL, ValidationError) as error:
        reason = redact(str(error) or type(error).__name__, secrets)[:SHOWN]
        raise StreamError(f"no response from {server}: {reason}; check url, model and key in params.yaml") from None
    if not shown.strip():
        raise StreamError(f"no text in the response of {server}; try again, or raise sample.decoding.max_tokens")


def _pieces(url: str, body: Mapping[str, object], *, key: str, timeout: float) -> Iterator[str]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with (
        httpx2.Client(timeout=timeout) as client,
        client.stream("POST", f"{url.rstrip('/')}/chat/completions", json=body, headers=headers) as response,
    ):
        if response.is_error:
            message = response.read().decode(errors="replace")
            raise httpx2.HTTPStatusError(
                f"status {response.status_code} {message!r}", request=response.request, response=response
            )
        for line in response.iter_lines():
            data = line.removeprefix("data:").strip()
            if line.startswith("data:") and data != END:
                for choice in Chunk.model_validate_json(data).choices[:1]:
                    yield choice.delta.content or ""
