"""One response at a time from an OpenAI-compatible server, streamed (server-sent events), for live conversations.

A failed request is not retried and no response is cached: the person who waits decides whether to try again.
"""

import os
from collections.abc import Iterator, Sequence

import openai

from lima.config.entries import EndpointContestant
from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import endpoint
from lima.records import Prompt, Provenance, Turn
from lima.redaction import redact, url_secrets
from lima.text import reasoning_blocks

SHOWN = 200  # characters of a server's message in an error
PLACE = Provenance(source="chat", site="", id="", url="", author="", license="", digest="")


class StreamError(LimaError):
    """The server did not respond. The message names the server and the reason."""


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
    headers: dict[str, str | openai.Omit] = {} if key else {"Authorization": openai.Omit()}
    turns = [turn.model_dump() for turn in messages]
    text = shown = ""
    try:
        with openai.OpenAI(base_url=served.url, api_key=key or "none", max_retries=0, timeout=timeout) as client:
            chunks = client.post(
                "/chat/completions",
                cast_to=openai.types.chat.ChatCompletionChunk,
                body={"model": request.model, "messages": turns, "stream": True, **request.options},
                options={"headers": headers},
                stream=True,
                stream_cls=openai.Stream[openai.types.chat.ChatCompletionChunk],
            )
            for chunk in chunks:
                piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
                text += piece
                visible = reasoning_blocks.without(text)
                if visible.startswith(shown) and len(visible) > len(shown):
                    yield visible[len(shown) :]
                    shown = visible
    except openai.OpenAIError as error:
        server = redact(served.url, secrets)
        reason = redact(str(error.__cause__ or error), secrets)[:SHOWN]
        raise StreamError(f"no response from {server}: {reason}; try again, or check url, model and key") from error
    if not shown.strip():
        raise StreamError(f"no text in the response of {redact(served.url, secrets)}; raise sample.decoding.max_tokens")
