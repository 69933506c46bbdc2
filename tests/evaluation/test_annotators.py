import json
import threading

import pytest
from chat_server import Sent, completed, refused, said, serving

from lima.chat_types import TooManyFailures
from lima.config.entries import EndpointAnnotator, FloorAnnotator
from lima.config.sections import Budget, Judge
from lima.evaluation.annotators import ResponsePair, annotate, pairs, without_vote
from lima.inference.chat_client import EndpointError
from lima.records import Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
PROMPTS = [
    Prompt(id=f"p{n}", messages=(Turn(role="user", content=f"question {n}"),), tags=(), provenance=PLACE)
    for n in range(6)
]


def response(prompt_id, contestant, *, sample=0, text=""):
    text = text or f"{contestant} on {prompt_id}"
    return Response(prompt_id=prompt_id, contestant=contestant, sample=sample, text=text, finish="stop", tokens=None)


def shown():
    return [ResponsePair(prompt, response(prompt.id, "lima"), response(prompt.id, "base")) for prompt in PROMPTS]


def judged(url, tmp_path, *, pairs_=None, retries=0, concurrency=3, max_failed_share=0.25, done=lambda: None, **entry):
    return annotate(
        shown() if pairs_ is None else pairs_,
        comparison="lima-base",
        name="model",
        annotator=EndpointAnnotator(
            kind="endpoint", url=url, model="m", key_variable="", **{"max_tokens": 100, **entry}
        ),
        judge=Judge(
            annotators=["model"],
            concurrency=concurrency,
            retries=retries,
            timeout=5.0,
            max_retry_after=1.0,
            max_rate_limit_wait=1.0,
            budget=Budget(calls=None, tokens=None, cost=None),
            max_failed_share=max_failed_share,
            seed=17,
        ),
        cache_path=tmp_path / "work/store.sqlite",
        done=done,
    )


def prefers_lima(body, number):
    text = body["messages"][0]["content"]
    return said("Clear.\nVERDICT: " + ("A" if text.index("lima on") < text.index("base on") else "B"))


def test_a_model_judges_every_pair_in_both_orders(tmp_path):
    counted = []
    with serving(prefers_lima) as server:
        given = judged(server.url, tmp_path, done=lambda: counted.append(1))
    assert [(v.prompt_id, v.annotator, v.contestant, v.rival, v.outcome) for v in given] == [
        (prompt.id, "model", "lima", "base", "win") for prompt in PROMPTS
    ]
    assert len(server.asked) == 12
    assert len(counted) == 6
    assert {request["temperature"] for request in server.asked} == {0.0}
    assert [ballot.first for ballot in given[0].ballots] == ["lima", "base"]


def test_a_rerun_uses_the_cache(tmp_path):
    with serving(prefers_lima) as server:
        first = judged(server.url, tmp_path)
        assert judged(server.url, tmp_path) == first
        assert len(server.asked) == 12


@pytest.mark.parametrize(("status", "fails"), [(402, EndpointError), (400, TooManyFailures), (503, TooManyFailures)])
def test_an_interrupted_run_requests_only_what_has_no_reply(tmp_path, status, fails):
    cut = threading.Event()

    def dies_after_five(body, number):
        return prefers_lima(body, number) if number < 5 or cut.is_set() else Sent(status=status, body="out of money")

    with serving(dies_after_five) as server:
        with pytest.raises(fails, match="out of money"):
            judged(server.url, tmp_path, concurrency=1)
        before = len(server.asked)
        cut.set()
        assert [v.outcome for v in judged(server.url, tmp_path)] == ["win"] * 6
        # five were answered; twelve in all
        assert len(server.asked) - before == 12 - 5


FILTER = refused(400, code="content_filter", message="The prompt triggered the content management policy.")


def filtered(body, number):
    """Whether this is the first request about p1, of the first twelve requests."""
    text = body["messages"][0]["content"]
    return number < 12 and "base on p1" in text and text.index("lima on p1") < text.index("base on p1")


def test_a_refused_judgment_is_a_failed_verdict_with_its_reason_and_the_run_continues(tmp_path):
    with serving(lambda body, n: FILTER if filtered(body, n) else prefers_lima(body, n)) as server:
        given = judged(server.url, tmp_path, concurrency=1)
        assert [v.outcome for v in given] == ["win", "failed", "win", "win", "win", "win"]
        refusal = given[1].ballots[0]
        assert (refusal.winner, refusal.reason, refusal.reply) == ("failed", "refused", "")
        assert "content management policy" in refusal.detail
        assert without_vote(given) == {"refused": 1}
        assert len(server.asked) == 12
        # what failed is never kept: a rerun asks for that one alone
        assert [v.outcome for v in judged(server.url, tmp_path)] == ["win"] * 6
        assert len(server.asked) == 12 + 1


def test_a_refused_first_judgment_does_not_stop_the_run(tmp_path):
    with serving(lambda body, n: FILTER if n == 0 else prefers_lima(body, n)) as server:
        assert [v.outcome for v in judged(server.url, tmp_path, concurrency=1)] == ["failed", *["win"] * 5]


def test_too_many_judgments_without_a_reply_stop_the_run_and_the_replies_stay_cached(tmp_path):
    with serving(lambda body, n: FILTER if n < 4 else prefers_lima(body, n)) as server:
        # a quarter of 12 judgments is 3
        with pytest.raises(
            TooManyFailures,
            match=r"4 of 12 requests have no response \(4 refused\), more than judge\.max_failed_share: 0\.25 "
            r"allows; last failure: status 400 .*\. Responses are cached",
        ):
            judged(server.url, tmp_path, concurrency=1)
        assert len(server.asked) == 4
    with serving(lambda body, n: FILTER if n < 3 else prefers_lima(body, n)) as server:
        assert [v.outcome for v in judged(server.url, tmp_path, concurrency=1)].count("failed") == 3


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (completed({"content": None}, finish="content_filter"), "refused"),
        (completed({"content": None}, finish="stop"), "empty"),
        (completed({"content": None, "reasoning_content": "VERDICT: A"}, finish="stop"), "empty"),
        (completed({"content": "<think>\nVERDICT: A\nbut"}, finish="length"), "truncated"),
        (completed({"content": "<think>\nVERDICT: A\nbut"}, finish="stop"), "empty"),
    ],
)
def test_a_reply_without_an_answer_is_a_failed_verdict_and_is_not_cached(tmp_path, sent, reason):
    healed = threading.Event()
    with serving(lambda body, n: prefers_lima(body, n) if healed.is_set() else sent) as server:
        given = judged(server.url, tmp_path, max_failed_share=1.0)
        assert {v.outcome for v in given} == {"failed"}
        assert without_vote(given) == {reason: 12}
        healed.set()
        assert {v.outcome for v in judged(server.url, tmp_path)} == {"win"}
        assert len(server.asked) == 24


def test_a_truncated_reply_is_unparsed_even_with_a_verdict_line(tmp_path):
    with serving(lambda *_: said("My draft:\nVERDICT: B\nbut let me", finish="length")) as server:
        given = judged(server.url, tmp_path)
    assert {v.outcome for v in given} == {"unparsed"}
    assert without_vote(given) == {"truncated": 12}


def test_a_verdict_in_a_reasoning_block_does_not_count(tmp_path):
    def thinks(body, number):
        final = prefers_lima(body, number)
        return said(
            f"<think>\nVERDICT: TIE\nno\n</think>\n{json.loads(final.body)['choices'][0]['message']['content']}"
        )

    with serving(thinks) as server:
        assert {v.outcome for v in judged(server.url, tmp_path)} == {"win"}
    with serving(lambda *_: said("<think>\nVERDICT: TIE\n</think>\nBoth are fine.")) as server:
        assert {v.outcome for v in judged(server.url, tmp_path)} == {"unparsed"}


def test_the_options_of_the_entry_are_sent_and_are_part_of_the_cache_key(tmp_path):
    with serving(prefers_lima) as server:
        judged(server.url, tmp_path, pairs_=shown()[:1])
        entry = {"send": ["max_completion_tokens"], "extra": {"reasoning_effort": "low"}}
        judged(server.url, tmp_path, pairs_=shown()[:1], **entry)
        assert len(server.asked) == 4
    plain, reasoning = ({k: v for k, v in asked.items() if k != "messages"} for asked in server.asked[::2])
    assert plain == {"model": "m", "max_tokens": 100, "temperature": 0.0, "top_p": 1.0, "seed": 17}
    assert reasoning == {"model": "m", "max_completion_tokens": 100, "reasoning_effort": "low"}


def test_a_changed_request_is_sent_again(tmp_path):
    with serving(prefers_lima) as server:
        judged(server.url, tmp_path, pairs_=shown()[:1])
        judged(server.url, tmp_path, pairs_=shown()[:1], max_tokens=101)
        assert len(server.asked) == 4


def test_concurrent_equal_requests_are_sent_once(tmp_path):
    same = ResponsePair(PROMPTS[0], response("p0", "lima", text="same"), response("p0", "base", text="same"))
    with serving(lambda *_: said("VERDICT: TIE", delay=0.1)) as server:
        assert [v.outcome for v in judged(server.url, tmp_path, pairs_=[same, same, same])] == ["tie"] * 3
        assert len(server.asked) == 1


def test_a_judge_that_always_prefers_the_first_is_inconsistent_and_free_text_is_unparsed(tmp_path):
    with serving(lambda *_: said("VERDICT: A")) as server:
        assert {v.outcome for v in judged(server.url, tmp_path)} == {"inconsistent"}
    with serving(lambda *_: said("Both are fine, I would say they tie.")) as server:
        assert {v.outcome for v in judged(server.url, tmp_path)} == {"unparsed"}


def test_retried_requests_change_no_verdict(tmp_path):
    def hiccups(body, number):
        if number % 3 == 0:
            return Sent(status=429, headers={"Retry-After": "0.01"})
        return prefers_lima(body, number)

    with serving(hiccups) as server:
        assert [v.outcome for v in judged(server.url, tmp_path, retries=12)] == ["win"] * 6


def test_a_baseline_returns_the_same_record_as_a_model(tmp_path):
    (verdict,) = annotate(
        shown()[:1],
        comparison="lima-base",
        name="longest",
        annotator=FloorAnnotator(kind="floor", rule="longest"),
        judge=Judge(
            annotators=["longest"],
            concurrency=1,
            retries=0,
            timeout=5.0,
            max_retry_after=1.0,
            max_rate_limit_wait=1.0,
            budget=Budget(calls=None, tokens=None, cost=None),
            max_failed_share=0.0,
            seed=17,
        ),
        cache_path=tmp_path / "store.sqlite",
        done=lambda: None,
    )
    assert (verdict.annotator, verdict.outcome) == ("longest", "tie")  # "lima on p0", "base on p0": ten characters each
    assert [ballot.reply for ballot in verdict.ballots] == ["", ""]
    assert not (tmp_path / "store.sqlite").exists()


def test_pairs_are_the_shared_samples_in_the_order_of_the_prompts():
    ours = [response("p2", "lima"), response("p0", "lima", sample=1), response("p0", "lima"), response("p1", "lima")]
    rivals = [response("p0", "base"), response("p0", "base", sample=1), response("p2", "base"), response("p9", "base")]
    paired = pairs(PROMPTS, ours, rivals)
    assert [(p.prompt.id, p.a.contestant, p.a.sample, p.b.contestant, p.b.sample) for p in paired] == [
        ("p0", "lima", 0, "base", 0),
        ("p0", "lima", 1, "base", 1),
        ("p2", "lima", 0, "base", 0),
    ]
