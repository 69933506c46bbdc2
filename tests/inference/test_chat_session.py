"""Requests over real HTTP to a server that fails: what arrives, what a rerun sends, what stops at once."""

import asyncio
import json
import subprocess
import sys
import time
from functools import partial

import pytest
from chat_server import Sent, refused, said, serving
from fault_server import KINDS, faulty

from lima.chat_types import ChatRequest, ChatResponse, NoReply, TooManyFailures
from lima.config.entries import Prices, ServedModel
from lima.config.sections import RequestSettings
from lima.inference import chat_client, chat_session, response_cache
from lima.inference.chat_client import EndpointError
from lima.records import Turn

SETTINGS = {
    "concurrency": 64,
    "retries": 12,
    "timeout": 60.0,
    "max_retry_after": 60.0,
    "max_rate_limit_wait": 600.0,
    "max_failed_share": 0.0,
    "budget": {"calls": None, "tokens": None, "cost": None},
}
KILLED = """
import json, sys
from lima.chat_types import ChatRequest
from lima.config.entries import ServedModel
from lima.config.sections import RequestSettings
from lima.inference.chat_session import ask_all
served, settings, requests = json.load(sys.stdin)
ask_all(
    [ChatRequest.model_validate_json(json.dumps(request)) for request in requests],
    ServedModel.model_validate_json(json.dumps(served)),
    RequestSettings.model_validate(settings),
    stage="judge",
    description="killed",
)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMA_CACHE", str(tmp_path / "cache.sqlite"))
    monkeypatch.setattr(chat_client, "FIRST_BACKOFF", 0.005)


def requests(count, **options):
    return [
        ChatRequest(model="m", messages=(Turn(role="user", content=f"question {n}"),), options=options, attempt=0)
        for n in range(count)
    ]


def settings(**changes):
    return RequestSettings.model_validate(SETTINGS | changes)


def served(url, **changes):
    return ServedModel(kind="endpoint", url=url, model="m", key_variable="", **changes)


def asked(url, count, *, prices=None, options=None, **changes):
    return chat_session.ask_all(
        requests(count, **options or {}),
        served(url, prices=prices),
        settings(**changes),
        stage="judge",
        description="test",
    )


def budget(**limits):
    return {"calls": None, "tokens": None, "cost": None} | limits


def test_every_reply_arrives_although_30_percent_of_the_calls_fail_and_a_rerun_sends_nothing(capsys):
    with faulty(share=0.3) as server:
        replies = asked(server.url, 200, concurrency=8, timeout=1.5)  # an answer takes a hundredth of that
        assert [reply.text for reply in replies] == [f"to question {n}" for n in range(200)]
        assert set(server.faults) == set(KINDS)
        calls = len(server.calls)
        assert calls == 200 + server.faults.total()
        assert asked(server.url, 200) == replies
        assert len(server.calls) == calls
    assert replies[0].usage.model == "m-1"
    assert max(reply.usage.attempts for reply in replies) > 2
    summary = f"test: 0 cached, {calls} calls, {calls - 200} retries, 0 failed, 1,800 tokens\n"
    assert summary in capsys.readouterr().err


def test_a_killed_run_loses_at_most_the_requests_in_flight():
    with faulty(share=0.0, answers=40) as server:
        values = [
            served(server.url).model_dump(mode="json"),
            settings(concurrency=6).model_dump(mode="json"),
            [request.model_dump(mode="json") for request in requests(120)],
        ]
        running = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, text=True)
        running.stdin.write(json.dumps(values))
        running.stdin.close()
        while len(server.calls) < 40 + 6 and running.poll() is None:  # forty have their answers, six wait for them
            time.sleep(0.005)
        running.kill()
        assert running.wait() == -9
        assert len(server.calls) == 40 + 6
        server.go_on.set()
        assert len(asked(server.url, 120)) == 120
        assert len(server.calls) <= 120 + 6


def test_a_request_that_waits_for_a_retry_does_not_occupy_a_slot(monkeypatch):
    def first_fails(body, number):
        return Sent(status=503, headers={"Retry-After": "0.3"}) if number == 0 else said("ok")

    async def until_the_others_are_sent(seconds):
        async with asyncio.timeout(60):
            while len(server.asked) < 3:
                await asyncio.sleep(0.005)

    monkeypatch.setattr(chat_session, "connected", partial(chat_client.connected, sleep=until_the_others_are_sent))
    with serving(first_fails) as server:
        asked(server.url, 3, concurrency=1)
        texts = [body["messages"][0]["content"][-1] for body in server.asked]
    assert texts == ["0", "1", "2", "0"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_stops_all_requests_at_once(status):
    with serving(lambda *_: Sent(status=status, body="no")) as server:
        with pytest.raises(EndpointError, match=f"status {status}"):
            asked(server.url, 300)
        assert len(server.asked) <= 8  # those in flight at the first reply


def test_an_account_without_credit_stops_at_once_and_keeps_the_responses():
    quota = refused(429, code="insufficient_quota", message="You exceeded your current quota")
    with serving(lambda _, number: said(str(number)) if number < 20 else quota) as server:
        with pytest.raises(EndpointError, match="the account has no credit left"):
            asked(server.url, 100, concurrency=4)
        before = len(server.asked)
        assert before <= 24
    with response_cache.open_cache() as cache:
        assert sum(cache.get(server.url, request) is not None for request in requests(100)) == 20


@pytest.mark.parametrize(
    ("limits", "options", "sent"),
    [
        ({"calls": 5}, {}, 5),
        # a call may need 4 + 3 prompt and 9 completion tokens, 16, and takes 7 + 2: after two (18) a third may reach 34
        ({"tokens": 33}, {"max_tokens": 9}, 2),
        # the same at 1 per token: prices are per million tokens
        ({"cost": 33.0}, {"max_tokens": 9}, 2),
    ],
)
def test_no_request_is_sent_that_may_exceed_the_budget(limits, options, sent):
    prices = Prices(prompt=1e6, completion=1e6)
    with faulty(share=0.0) as server:

        def run(**changes):
            return asked(server.url, 10, options=options, prices=prices, max_failed_share=1.0, **changes)

        replies = run(budget=budget(**limits))
        assert len(server.calls) == sent
        missing = [reply for reply in replies if isinstance(reply, NoReply)]
        assert {reply.reason for reply in missing} == {"over_budget"}
        assert len(missing) == 10 - sent
        (name,) = limits
        assert f"budget used up: judge.budget.{name} is {limits[name]:g}" in missing[0].detail
        # spending is kept: a rerun has no budget either, but uses the cache
        assert run(budget=budget(**limits)) == replies
        assert len(server.calls) == sent
        assert all(isinstance(reply, ChatResponse) for reply in run(budget=budget()))
        assert len(server.calls) == 10


def test_an_exhausted_budget_stops_the_run_if_too_few_responses_are_left():
    with faulty(share=0.0) as server:
        with pytest.raises(TooManyFailures, match=r"over_budget.*raise it in params\.yaml"):
            asked(server.url, 50, budget=budget(calls=10), max_failed_share=0.25)
        assert len(server.calls) == 10


def test_failed_attempts_count_as_calls_of_the_budget():
    with serving(lambda *_: Sent(status=500)) as server:
        replies = asked(server.url, 1, retries=9, budget=budget(calls=3), max_failed_share=1.0)
        assert len(server.asked) == 3
    assert replies[0].reason == "over_budget"


def test_two_stages_have_separate_budgets():
    with faulty(share=0.0) as server:
        asked(server.url, 3, budget=budget(calls=3))
        chat_session.ask_all(
            requests(6), served(server.url), settings(budget=budget(calls=3)), stage="sample", description="other"
        )
        assert len(server.calls) == 6


def test_the_estimate_counts_cached_requests_and_prices_the_others():
    with faulty(share=0.0) as server:
        asked(server.url, 4, options={"max_tokens": 9})
        prices = Prices(prompt=2e6, completion=1e6)
        estimate = chat_session.estimate(requests(10, max_tokens=9), served(server.url, prices=prices))
        assert len(server.calls) == 4
    # six of 7 prompt and at most 9 completion tokens, at 2 and 1 per token
    assert (estimate.cached, estimate.amount.calls) == (4, 6)
    assert (estimate.amount.prompt_tokens, estimate.amount.completion_tokens, estimate.amount.cost) == (42, 54, 138.0)
    assert str(estimate) == ("4 cached, 6 calls, about 42 prompt tokens, at most 54 completion tokens, cost 138.00")


def test_prices_apply_to_cached_responses_too():
    with faulty(share=0.0) as server:
        assert asked(server.url, 1)[0].usage.cost is None
        (reply,) = asked(server.url, 1, prices=Prices(prompt=1e6, completion=2e6))
    assert reply.usage.cost == 7 + 2 * 2
