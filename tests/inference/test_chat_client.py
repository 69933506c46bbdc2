import asyncio
import base64
import re
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from chat_server import Sent, completed, refused, said, serving

from lima.chat_types import ChatRequest, ChatResponse, NoReply
from lima.config.entries import Prices, ServedModel
from lima.config.sections import RequestSettings
from lima.inference.chat_client import EndpointError, connected, retry_after_seconds
from lima.records import Turn, Usage

OPTIONS = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 1}
REQUEST = ChatRequest(model="m", messages=(Turn(role="user", content="?"),), options=OPTIONS, attempt=0)


def settings(**changes):
    values = {
        "concurrency": 8,
        "retries": 3,
        "timeout": 60.0,
        "max_retry_after": 60.0,
        "max_rate_limit_wait": 600.0,
        "max_failed_share": 1.0,
        "budget": {"calls": None, "tokens": None, "cost": None},
    }
    return RequestSettings.model_validate(values | changes)


def ask(url, *, times=1, key_variable="", known=False, pauses=None, request=REQUEST, prices=None, **changes):
    """The last of `times` sequential replies; delays are recorded instead of slept."""
    served = ServedModel(kind="endpoint", url=url, model="m", key_variable=key_variable, prices=prices)

    async def record(pause):
        if pauses is not None:
            pauses.append(pause)

    async def run():
        async with connected(served, settings(**changes), seed=17, known=known, sleep=record) as endpoint:
            return [await endpoint.ask(request) for _ in range(times)][-1]

    return asyncio.run(run())


@contextmanager
def hanging(hangs=lambda number: True):
    """A server that does not answer requests for whose number `hangs` is true before the block ends."""
    over = threading.Event()

    def answer(body, number):
        if hangs(number):
            over.wait()
        return said("slow")

    with serving(answer) as server:
        try:
            yield server
        finally:
            over.set()


def test_a_response_has_text_finish_reason_and_usage():
    with serving(lambda body, number: said("Hello", finish="length", tokens=9)) as server:
        reply = ask(server.url, prices=Prices(prompt=2.0, completion=8.0))
    # 1 prompt token at 2 and 9 completion tokens at 8 per million: 74 millionths
    usage = Usage(model="m", prompt_tokens=1, completion_tokens=9, cost=74e-6, seconds=reply.usage.seconds, attempts=1)
    assert reply == ChatResponse(text="Hello", finish="length", finish_reason="length", usage=usage)
    messages = [{"role": "user", "content": "?"}]
    expected = {"model": "m", "messages": messages, "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 1}
    assert server.asked == [expected]


def test_every_turn_is_sent_with_its_own_role():
    turns = tuple(Turn(role=role, content=role[0]) for role in ("system", "user", "assistant", "user"))
    with serving(lambda body, number: said("Hello")) as server:
        ask(server.url, request=REQUEST.model_copy(update={"messages": turns}))
    assert server.asked[0]["messages"] == [turn.model_dump() for turn in turns]


def test_the_delay_after_a_rate_limit_is_that_of_retry_after():
    pauses = []
    limit = Sent(status=429, headers={"Retry-After": "7"})
    with serving(lambda body, number: limit if number < 2 else said("at last")) as server:
        assert ask(server.url, pauses=pauses).text == "at last"
    assert all(7 <= pause <= 7.7 for pause in pauses)  # up to a tenth more
    assert len(server.asked) == 3


def test_a_long_retry_after_is_shortened_to_the_maximum():
    pauses = []
    limit = Sent(status=429, headers={"Retry-After": "86400"})
    with serving(lambda body, number: limit if number == 0 else said("ok")) as server:
        assert ask(server.url, pauses=pauses, max_retry_after=30.0).text == "ok"
    assert 30 <= pauses[0] <= 33


def test_retry_after_in_milliseconds_takes_precedence():
    pauses = []
    limit = Sent(status=429, headers={"Retry-After": "1", "Retry-After-Ms": "200"})
    with serving(lambda body, number: limit if number == 0 else said("ok")) as server:
        ask(server.url, pauses=pauses)
    assert 0.2 <= pauses[0] <= 0.22


def test_a_rate_limit_is_waited_for_without_a_retry():
    limit = Sent(status=429, headers={"Retry-After": "20"})
    with serving(lambda body, number: limit if number < 25 else said("ok")) as server:
        reply = ask(server.url, retries=0, max_rate_limit_wait=600.0)
    assert (reply.text, reply.usage.attempts) == ("ok", 26)


def test_a_rate_limit_is_waited_for_no_longer_than_the_maximum():
    pauses = []
    with serving(lambda *_: Sent(status=429, headers={"Retry-After": "20"})) as server:
        reply = ask(server.url, known=True, pauses=pauses, max_rate_limit_wait=100.0)
    assert reply.reason == "unavailable"
    assert len(server.asked) == 1 + 5  # after the first attempt five waits of 20 to 22 seconds each


@pytest.mark.parametrize(
    ("body", "headers", "quota"),
    [
        ('{"error": {"code": "insufficient_quota", "message": "see rate limits"}}', {"Retry-After": "1"}, True),
        ("You exceeded your current quota, please check your plan and billing details", {}, True),
        ("You exceeded your current quota. Quota: requests per minute; please retry in 12 s", {}, False),
        ("You exceeded your current quota", {"Retry-After": "12"}, False),
        ("Rate limit reached for requests", {}, False),
        ("Your credit balance is too low", {}, True),
    ],
)
def test_a_quota_is_distinguished_from_a_rate_limit(body, headers, quota):
    def answer(_, number):
        return Sent(status=429, body=body, headers=headers) if number == 0 else said("ok")

    with serving(answer) as server:
        if quota:
            with pytest.raises(EndpointError, match="the account has no credit left"):
                ask(server.url)
        else:
            assert ask(server.url).text == "ok"


def test_a_stopped_endpoint_sends_nothing_more_and_wakes_waiting_requests():
    async def run(url):
        served = ServedModel(kind="endpoint", url=url, model="m", key_variable="")
        async with connected(served, settings(), seed=17, known=True) as endpoint:
            waiting = asyncio.ensure_future(endpoint.ask(REQUEST))
            while not endpoint.counts.waiting:
                await asyncio.sleep(0.01)
            endpoint.stop(EndpointError("stopped"))
            for request in (waiting, endpoint.ask(REQUEST)):
                with pytest.raises(EndpointError, match="stopped"):
                    await asyncio.wait_for(request, timeout=60)

    with serving(lambda *_: Sent(status=503, headers={"Retry-After": "50"})) as server:
        asyncio.run(run(server.url))
        assert len(server.asked) == 1


def test_backoff_doubles_with_jitter_of_up_to_a_half():
    pauses = []
    with serving(lambda body, number: Sent(status=503) if number < 3 else said("ok")) as server:
        ask(server.url, pauses=pauses)
    # before the second attempt 1 s less up to ½, then 2 s, then 4 s
    assert [low <= pause <= 2 * low for low, pause in zip([0.5, 1, 2], pauses, strict=True)] == [True] * 3


def test_a_server_error_is_retried_as_often_as_configured():
    pauses = []
    with serving(lambda body, number: Sent(status=500, body="broken")) as server:
        with pytest.raises(EndpointError, match=rf"{server.url} failed after 4 attempts: status 500 'broken'"):
            ask(server.url, retries=3, pauses=pauses)
        assert len(server.asked) == 4
    assert len(pauses) == 3  # none after the last failure


def test_a_permanent_error_is_not_retried():
    with serving(lambda body, number: Sent(status=404, body="no such model")) as server:
        with pytest.raises(
            EndpointError, match=r"failed after 1 attempt: status 404 'no such model'; check url, model and key"
        ):
            ask(server.url)
        assert len(server.asked) == 1


def test_a_timeout_is_retried_and_then_reported():
    with hanging(lambda number: number == 0) as server:
        assert ask(server.url, timeout=1.0).text == "slow"
    with (
        hanging() as server,
        pytest.raises(EndpointError, match=r"failed after 2 attempts: timeout after 0\.1 s; raise the timeout"),
    ):
        ask(server.url, timeout=0.1, retries=1)


def test_a_refused_connection_is_reported_with_the_address_at_once():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(
            EndpointError,
            match=rf"{url} failed after 1 attempt: cannot connect .*; start the server or correct the url",
        ):
            ask(url)


@pytest.mark.parametrize("body", ["<html>hello</html>", "{", "{}", '{"choices": []}', '{"choices": [{"message": 3}]}'])
def test_three_malformed_replies_before_the_first_response_raise(body):
    page = Sent(body=body, headers={"Content-Type": "application/json"})
    with serving(lambda *_: page) as server:
        with pytest.raises(
            EndpointError, match=r"failed after 3 attempts: the reply is not a chat completion; check .* ends in /v1"
        ):
            ask(server.url)
        assert len(server.asked) == 3


def test_an_invalid_reply_is_retried_once_the_server_has_responded():
    with serving(lambda body, number: Sent(body="<html>") if number == 1 else said(str(number))) as server:
        assert ask(server.url, times=2).text == "2"


def test_the_key_is_sent_and_is_in_no_error_and_no_log(monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    with serving(lambda *_: Sent(status=401, body="wrong key: sk-secret")) as server:
        with pytest.raises(EndpointError, match="wrong key: …") as caught:
            ask(server.url, key_variable="SOME_KEY")
        assert server.authorization == ["Bearer sk-secret"]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "sk-secret" not in str(caught.value) + caplog.text


KEY = "sk-proj-" + "".join(chr(ord("A") + number * 7 % 26) + str(number) for number in range(20))  # 58 characters


@pytest.mark.parametrize("before", [0, 150, 160, 190, 199])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_no_part_of_the_key_is_shown_where_the_body_is_cut(monkeypatch, before, status):
    monkeypatch.setenv("SOME_KEY", KEY)
    body = "x" * before + KEY + "y" * 100
    with (
        serving(lambda *_: Sent(status=status, body=body)) as server,
        pytest.raises(EndpointError) as caught,
    ):
        ask(server.url, key_variable="SOME_KEY", retries=0, max_rate_limit_wait=0.5, times=3)
    assert not [KEY[start : start + 8] for start in range(51) if KEY[start : start + 8] in str(caught.value)]
    assert "xxxxxxxx…" in str(caught.value) or before == 0


@pytest.mark.parametrize("before", [0, 150, 199])
def test_no_part_of_the_key_is_in_the_reason_of_a_question_without_an_answer(monkeypatch, before):
    monkeypatch.setenv("SOME_KEY", KEY)
    with serving(lambda *_: Sent(status=400, body="x" * before + KEY)) as server:
        detail = ask(server.url, key_variable="SOME_KEY").detail
    assert not [KEY[start : start + 8] for start in range(51) if KEY[start : start + 8] in detail]


def test_a_key_in_a_response_is_redacted(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    with serving(lambda *_: said(f"You sent {KEY}.", finish=KEY)) as server:
        reply = ask(server.url, key_variable="SOME_KEY")
    assert (reply.text, reply.finish_reason) == ("You sent ….", "…")


def test_credentials_of_a_url_are_sent_as_basic_authentication():
    with serving(lambda *_: said("ok")) as server:
        ask(server.url.replace("://", "://ann:pa%3Fss@"))
    assert server.authorization == ["Basic " + base64.b64encode(b"ann:pa?ss").decode()]


def test_credentials_in_a_url_are_in_no_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match=rf"http://…@{place} failed after 1 attempt: cannot connect") as caught:
            ask(f"http://ann:pa55w0rd@{place}")
    assert "pa55w0rd" not in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY[:20]} {KEY[20:]}", f"{KEY}é"])
def test_an_invalid_key_is_reported_by_its_variable_without_its_value(monkeypatch, key):
    monkeypatch.setenv("SOME_KEY", key)
    with pytest.raises(EndpointError, match=r"SOME_KEY contains a space, a line break or a character") as caught:
        ask("http://127.0.0.1:9/v1", key_variable="SOME_KEY")
    assert KEY[:8] not in str(caught.value)


def test_no_variable_means_no_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-someone-else")
    with serving(lambda *_: said("ok")) as server:
        ask(server.url)
        assert server.authorization == [None]


def test_a_missing_key_is_reported_by_its_variable(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(EndpointError, match=r"environment variable not set: SOME_KEY; export it"):
        ask("http://127.0.0.1:9/v1", key_variable="SOME_KEY")


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", 120.0),  # RFC 9110: Retry-After: 120
        ("1.5", 1.5),
        ("-3", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),  # RFC 9110's date, seen a minute before midnight
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 -0000", 59.0),  # a time without a zone is UTC
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, wait):
    assert retry_after_seconds(header, now=datetime(1999, 12, 31, 23, 59, 0, tzinfo=UTC)) == wait


# --- replies without a response ----------------------------------------------------------------------------------

CALL = [{"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": None}, "stop", "empty"),
        ({}, "stop", "empty"),
        ({"content": ""}, "stop", "empty"),
        ({"content": " \n"}, "stop", "empty"),
        ({"content": []}, "stop", "empty"),
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "stop", "empty"),
        ({"content": None, "tool_calls": CALL}, "tool_calls", "empty"),
        ({"content": None, "reasoning_content": "Let me see."}, "stop", "empty"),
        ({"content": None, "reasoning": "Let me see."}, "stop", "empty"),
        ({"content": "<think>Let me see.</think>\n"}, "stop", "empty"),
        ({"content": None, "reasoning_content": "Let me"}, "length", "truncated"),
        ({"content": "<think>Let me"}, "length", "truncated"),
        ({"content": ""}, "length", "truncated"),
        ({"content": None}, "content_filter", "refused"),
        ({"content": "An answer that is cut he"}, "content_filter", "refused"),
        ({"content": None, "refusal": "I cannot."}, "stop", "refused"),
        ({"content": [{"type": "refusal", "refusal": "I cannot."}]}, "stop", "refused"),
    ],
)
def test_a_completion_without_text_is_no_reply_and_is_not_retried(message, finish, reason):
    with serving(lambda *_: completed(message, finish=finish)) as server:
        outcome = ask(server.url)
        assert len(server.asked) == 1
    assert isinstance(outcome, NoReply)
    assert outcome.reason == reason
    assert outcome.detail


@pytest.mark.parametrize(
    ("message", "finish", "wanted"),
    [
        ({"content": [{"type": "text", "text": "Yes"}, {"type": "text", "text": "."}]}, "stop", ("Yes.", "stop")),
        ({"content": [{"type": "reasoning", "text": "hm"}, "Yes", " no"]}, "stop", ("Yes no", "stop")),
        ({"content": "Yes.", "reasoning_content": "hm"}, "stop", ("Yes.", "stop")),
        ({"content": "Yes.", "tool_calls": CALL}, "tool_calls", ("Yes.", "stop")),
        ({"content": "Yes"}, "max_tokens", ("Yes", "length")),
        ({"content": "Yes"}, None, ("Yes", "stop")),
        ({"content": "<think>a</think>Yes"}, "stop", ("<think>a</think>Yes", "stop")),  # unchanged
    ],
)
def test_a_completion_with_text_returns_it_with_the_servers_finish_reason(message, finish, wanted):
    with serving(lambda *_: completed(message, finish=finish)) as server:
        reply = ask(server.url)
    assert (reply.text, reply.finish, reply.finish_reason) == (*wanted, finish)


@pytest.mark.parametrize(
    "body",
    ["<html>hello</html>", "{", "{}", '{"choices": []}', '{"choices": [{"message": 3}]}', '{"error": {"code": 500}}'],
)
def test_an_invalid_reply_is_malformed_after_all_retries(body):
    with serving(lambda _, number: said("ok") if number == 0 else Sent(body=body)) as server:
        outcome = ask(server.url, times=2, retries=2)
        assert len(server.asked) == 1 + 3
    assert outcome.reason == "malformed"


def test_a_reply_with_finish_reason_error_is_retried():
    broken = completed({"content": "Half an ans"}, finish="error")
    with serving(lambda _, number: broken if number == 0 else said("whole")) as server:
        assert ask(server.url, known=True).text == "whole"


# --- requests without a response, and servers without responses ----------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"code": "content_filter", "message": "The response was filtered"}, "refused"),
        (400, {"code": "invalid_prompt", "message": "Your prompt was flagged"}, "refused"),
        (403, {"message": "requires moderation and your input was flagged"}, "refused"),
        (400, {"code": "context_length_exceeded", "message": "maximum context length is 9; max_tokens"}, "too_long"),
        (413, {"message": "too large"}, "rejected"),
        (422, {"message": "unknown"}, "rejected"),
        (400, {"message": "unknown"}, "rejected"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_one_refused_request_is_no_reply_and_the_next_one_is_sent(status, error, reason, first):
    def answer(body, number):
        return refused(status, **error) if number == (0 if first else 1) else said("ok")

    with serving(answer) as server:
        assert ask(server.url, times=3).text == "ok"
        assert len(server.asked) == 3
    with serving(lambda _, number: said("ok") if number == 0 and not first else answer(_, number)) as server:
        outcome = ask(server.url, times=1 if first else 2)
    assert outcome.reason == reason
    assert str(status) in outcome.detail


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_an_unknown_model_raises_even_after_responses(status):
    with serving(lambda _, number: said("ok") if number == 0 else Sent(status=status, body="no")) as server:
        with pytest.raises(
            EndpointError, match=rf"failed after 1 attempt: status {status} 'no'; check url, model and key"
        ):
            ask(server.url, times=2)
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    "body", ['{"code": "invalid_model"}', "The model `m` does not exist", "Server is pinned to 'a'; requested 'm'."]
)
def test_an_unknown_model_raises_whatever_the_status(body):
    with serving(lambda *_: Sent(status=400, body=body)) as server:
        with pytest.raises(EndpointError, match=r"failed after 1 attempt: status 400 .*check url, model and key"):
            ask(server.url)
        assert len(server.asked) == 1


def test_an_exhausted_account_raises_at_once():
    with serving(lambda *_: refused(429, code="insufficient_quota", message="You exceeded your quota")) as server:
        with pytest.raises(
            EndpointError, match=r"failed after 1 attempt: status 429 .*; the account has no credit left"
        ):
            ask(server.url)
        assert len(server.asked) == 1


def test_three_rejected_requests_before_the_first_response_raise():
    with serving(lambda *_: Sent(status=400, body="bad request")) as server:
        with pytest.raises(EndpointError, match="status 400 'bad request'"):
            ask(server.url, times=9)
        assert len(server.asked) == 3


@pytest.mark.parametrize("known", [True, False])
def test_a_timeout_is_no_reply_if_the_server_is_known_to_respond(known):
    with hanging() as server:
        if known:
            assert ask(server.url, timeout=0.1, retries=0, known=True).reason == "timed_out"
        else:
            with pytest.raises(EndpointError, match=r"timeout after 0\.1 s"):
                ask(server.url, timeout=0.1, retries=0)


def test_eight_consecutive_failures_after_responses_raise():
    with serving(lambda _, number: said("ok") if number == 0 else Sent(status=503)) as server:
        with pytest.raises(
            EndpointError, match=r"stopped responding: .*; 8 consecutive requests failed, the last one after 2 attempts"
        ):
            ask(server.url, times=20, retries=1)
        assert len(server.asked) == 1 + 8 * 2


def test_a_response_resets_the_count_of_consecutive_failures():
    with serving(lambda _, number: said("ok") if number % 3 == 0 else Sent(status=503)) as server:
        assert ask(server.url, times=31, retries=0).text == "ok"


# --- options -----------------------------------------------------------------------------------------------------


def test_only_the_options_of_the_request_are_sent():
    chosen = {"max_completion_tokens": 9, "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}
    with serving(lambda *_: said("ok")) as server:
        ask(server.url, request=REQUEST.model_copy(update={"options": chosen}))
    assert server.asked[0] == {"model": "m", "messages": [{"role": "user", "content": "?"}], **chosen}


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            "unsupported option max_tokens: set `send: [max_completion_tokens, temperature, top_p, seed]` for",
        ),
        (
            "Unsupported value: 'temperature' does not support 0.5",
            "unsupported option temperature: set `send: [max_tokens, top_p, seed]` for this endpoint in params.yaml",
        ),
        ("seed is not permitted", "unsupported option seed: set `send: [max_tokens, temperature, top_p]`"),
        ("reasoning_effort is unknown", "unsupported option reasoning_effort: remove it from `extra` of this endpoint"),
    ],
)
def test_an_unsupported_option_is_reported_with_the_setting(message, advice):
    with serving(lambda *_: refused(400, message=message)) as server:
        with pytest.raises(EndpointError, match=re.escape(advice)):
            ask(server.url, request=REQUEST.model_copy(update={"options": OPTIONS | {"reasoning_effort": "low"}}))
        assert len(server.asked) == 1
