"""Streamed responses of an endpoint: pieces, reasoning blocks, and errors without secrets."""

import json
from pathlib import Path

import pytest
from chat_server import Sent, refused, serving
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from lima.config.entries import EndpointContestant
from lima.config.sections import Decoding
from lima.inference import chat_stream
from lima.inference.chat_stream import StreamError
from lima.records import Turn

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
DECODING = TypeAdapter(Decoding).validate_python(YAML(typ="safe").load(LAPTOP)["sample"]["decoding"])
TURNS = (Turn(role="user", content="Hello"),)


def events(*pieces):
    """A stream of server-sent events, with a first event without text and a last one with the usage."""
    chunks = [{"choices": [{"delta": {"role": "assistant"}}]}]
    chunks += [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    chunks += [{"choices": [], "usage": {"total_tokens": 3}}]
    lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return Sent(body=f": a comment\n\n{lines}data: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})


def stream(url, *, key_variable=""):
    served = EndpointContestant(kind="endpoint", url=url, model="m", key_variable=key_variable, reads="x")
    return list(chat_stream.stream(served, TURNS, DECODING, conversation="c", sample=0, timeout=60))


def test_pieces_arrive_in_order_with_the_decoding_of_the_stage_sample():
    with serving(lambda body, number: events("Hel", "lo ", "you")) as server:
        assert stream(server.url) == ["Hel", "lo ", "you"]
    (asked,) = server.asked
    assert (asked["stream"], asked["temperature"], asked["top_p"]) == (True, DECODING.temperature, DECODING.top_p)
    assert asked["messages"] == [{"role": "user", "content": "Hello"}] and server.authorization == [None]


def test_reasoning_blocks_are_left_out():
    with serving(lambda body, number: events("<think>", "secret", "</think>", "Yes")) as server:
        assert "".join(stream(server.url)) == "Yes"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (refused(500, message="down, key sk-12345678-abc"), "status 500"),
        (events(), "no text in the response"),
        (Sent(body="data: {nonsense\n\n"), "no response from"),
    ],
)
def test_a_failed_response_is_an_error_without_the_key(monkeypatch, sent, reason):
    monkeypatch.setenv("KEY", "sk-12345678-abc")
    with serving(lambda body, number: sent) as server, pytest.raises(StreamError, match=reason) as error:
        stream(server.url, key_variable="KEY")
    assert "12345678" not in str(error.value)
    assert server.authorization == ["Bearer sk-12345678-abc"]


def test_an_unreachable_server_and_a_missing_key_are_errors(monkeypatch):
    with pytest.raises(StreamError, match=r"no response from http://127\.0\.0\.1:9/v1"):
        stream("http://127.0.0.1:9/v1")
    monkeypatch.delenv("KEY", raising=False)
    with pytest.raises(StreamError, match="environment variable not set: KEY; export it"):
        stream("http://127.0.0.1:9/v1", key_variable="KEY")
