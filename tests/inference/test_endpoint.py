import pytest
from chat_server import completed, said, serving

from lima.config.entries import EndpointContestant
from lima.config.sections import Budget, Decoding, RequestSettings
from lima.inference import endpoint
from lima.inference.chat_session import ask_all
from lima.records import Prompt, Provenance, Turn, Unanswered

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
PROMPTS = [
    Prompt(id=name, messages=(Turn(role="user", content=f"{name}?"),), tags=(), provenance=PLACE) for name in "abc"
]
DECODING = Decoding(
    top_p=0.9, temperature=0.7, repetition_penalty=1.2, max_tokens=40, batch_size=4, precision="fp32", seed=17
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMA_CACHE", str(tmp_path / "cache.sqlite"))


def generated(url, *, samples=1, **entry):
    served = EndpointContestant(kind="endpoint", url=url, model="m", key_variable="", reads="", **entry)
    settings = RequestSettings(
        concurrency=2,
        retries=0,
        timeout=60.0,
        max_retry_after=1.0,
        max_rate_limit_wait=1.0,
        max_failed_share=1.0,
        budget=Budget(calls=None, tokens=None, cost=None),
    )
    requests = endpoint.chat_requests(PROMPTS, served=served, samples=samples, decoding=DECODING)
    replies = iter(ask_all(requests, served, settings, stage="sample", description="served"))
    return [
        endpoint.response(prompt, sample, next(replies), contestant="served")
        for prompt in PROMPTS
        for sample in range(samples)
    ]


def test_responses_are_in_the_order_of_the_prompts():
    def slow_first(body, number):
        text = body["messages"][0]["content"]
        return said(f"to {text}", finish="length" if text == "b?" else "stop", delay=0.2 if text == "a?" else 0)

    with serving(slow_first) as server:
        responses = generated(server.url)
    assert [(r.contestant, r.prompt_id, r.text, r.finish, r.tokens) for r in responses] == [
        ("served", "a", "to a?", "stop", 3),
        ("served", "b", "to b?", "length", 3),
        ("served", "c", "to c?", "stop", 3),
    ]


def test_every_sample_has_its_own_reproducible_seed(tmp_path, monkeypatch):
    with serving(lambda *_: said("ok")) as server:
        assert [r.sample for r in generated(server.url, samples=2)] == [0, 1] * 3
        monkeypatch.setenv("LIMA_CACHE", str(tmp_path / "another.sqlite"))
        generated(server.url, samples=2)
    first, again = ([request["seed"] for request in half] for half in (server.asked[:6], server.asked[6:]))
    assert len(set(first)) == 6
    assert sorted(first) == sorted(again)
    assert all(0 <= seed < 2**31 for seed in first)


def test_the_decoding_parameters_of_the_protocol_are_sent():
    with serving(lambda *_: said("ok")) as server:
        generated(server.url)
    sent = {name: server.asked[0][name] for name in ("model", "top_p", "temperature", "max_tokens")}
    assert sent == {"model": "m", "top_p": 0.9, "temperature": 0.7, "max_tokens": 40}
    assert "repetition_penalty" not in server.asked[0]


def test_reasoning_blocks_are_removed_and_reasoning_alone_is_not_a_response():
    replies = [said("<think>a b</think>\nYes."), said("<think>a b", finish="length"), said("Yes, but", finish="length")]
    with serving(lambda body, _: replies["abc".index(body["messages"][0]["content"][0])]) as server:
        first, second, third = generated(server.url)
    assert (first.text, first.finish, first.finish_reason) == ("Yes.", "stop", "stop")
    assert isinstance(second, Unanswered)
    assert (second.prompt_id, second.sample, second.reason) == ("b", 0, "truncated")
    assert (third.text, third.finish) == ("Yes, but", "length")


def test_a_filtered_response_is_missing_with_its_reason():
    with serving(lambda *_: completed({"content": "I was abo"}, finish="content_filter")) as server:
        assert {outcome.reason for outcome in generated(server.url)} == {"refused"}


def test_the_options_of_the_entry_are_sent():
    with serving(lambda *_: said("ok")) as server:
        generated(server.url, send=["max_completion_tokens"], extra={"reasoning_effort": "low"})
    names = {name: value for name, value in server.asked[0].items() if name != "messages"}
    assert names == {"model": "m", "max_completion_tokens": 40, "reasoning_effort": "low"}
