import threading

import pytest
from chat_server import Sent, said, serving

from lima.endpoints import EndpointError
from lima.judging import store
from lima.judging.verdicts import Pair, pairs, verdicts
from lima.params.entries import EndpointAnnotator, FloorAnnotator
from lima.params.sections import Judge
from lima.protocol import Question, Reply
from lima.records import Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", licence="MIT", digest="0")
PROMPTS = [
    Prompt(id=f"p{n}", messages=(Turn(role="user", content=f"question {n}"),), tags=(), provenance=PLACE)
    for n in range(6)
]


def response(prompt_id, contestant, *, sample=0, text=""):
    text = text or f"{contestant} on {prompt_id}"
    return Response(prompt_id=prompt_id, contestant=contestant, sample=sample, text=text, finish="stop", tokens=None)


def shown():
    return [Pair(prompt, response(prompt.id, "lima"), response(prompt.id, "base")) for prompt in PROMPTS]


def judged(url, tmp_path, *, pairs_=None, retries=0, concurrency=3, max_tokens=100, done=lambda: None):
    return verdicts(
        shown() if pairs_ is None else pairs_,
        comparison="lima-base",
        name="model",
        annotator=EndpointAnnotator(kind="endpoint", url=url, model="m", key_variable="", max_tokens=max_tokens),
        judge=Judge(annotators=["model"], concurrency=concurrency, retries=retries, timeout=5.0, seed=17),
        kept_replies=tmp_path / "work/store.sqlite",
        done=done,
    )


def prefers_lima(body, number):
    text = body["messages"][0]["content"]
    return said("Clear.\nVERDICT: " + ("A" if text.index("lima on") < text.index("base on") else "B"))


def test_a_model_is_asked_about_every_pair_in_both_orders(tmp_path):
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


def test_a_rerun_asks_nothing_twice(tmp_path):
    with serving(prefers_lima) as server:
        first = judged(server.url, tmp_path)
        assert judged(server.url, tmp_path) == first
        assert len(server.asked) == 12


def test_a_run_that_was_cut_off_goes_on_with_what_is_unanswered(tmp_path):
    cut = threading.Event()

    def dies_after_five(body, number):
        return prefers_lima(body, number) if number < 5 or cut.is_set() else Sent(status=400, body="out of money")

    with serving(dies_after_five) as server:
        with pytest.raises(EndpointError, match="out of money"):
            judged(server.url, tmp_path, concurrency=1)
        before = len(server.asked)
        cut.set()
        assert [v.outcome for v in judged(server.url, tmp_path)] == ["win"] * 6
        # five were answered; twelve in all
        assert len(server.asked) - before == 12 - 5


def test_another_question_is_asked_anew(tmp_path):
    with serving(prefers_lima) as server:
        judged(server.url, tmp_path, pairs_=shown()[:1])
        judged(server.url, tmp_path, pairs_=shown()[:1], max_tokens=101)
        assert len(server.asked) == 4


def test_one_question_that_comes_twice_at_a_time_is_asked_once(tmp_path):
    same = Pair(PROMPTS[0], response("p0", "lima", text="same"), response("p0", "base", text="same"))
    with serving(lambda *_: said("VERDICT: TIE", delay=0.1)) as server:
        assert [v.outcome for v in judged(server.url, tmp_path, pairs_=[same, same, same])] == ["tie"] * 3
        assert len(server.asked) == 1


def test_a_model_that_always_prefers_the_first_is_inconsistent_and_a_babbling_one_unparsed(tmp_path):
    with serving(lambda *_: said("VERDICT: A")) as server:
        assert {v.outcome for v in judged(server.url, tmp_path)} == {"inconsistent"}
    with serving(lambda *_: said("Both are fine, I would say they tie.")) as server:
        assert {v.outcome for v in judged(server.url, tmp_path)} == {"unparsed"}


def test_hiccups_of_the_server_change_no_verdict(tmp_path):
    def hiccups(body, number):
        if number % 3 == 0:
            return Sent(status=429, headers={"Retry-After": "0.01"})
        return prefers_lima(body, number)

    with serving(hiccups) as server:
        assert [v.outcome for v in judged(server.url, tmp_path, retries=12)] == ["win"] * 6


def test_a_floor_gives_the_same_record_as_a_model(tmp_path):
    (verdict,) = verdicts(
        shown()[:1],
        comparison="lima-base",
        name="longest",
        annotator=FloorAnnotator(kind="floor", rule="longest"),
        judge=Judge(annotators=["longest"], concurrency=1, retries=0, timeout=5.0, seed=17),
        kept_replies=tmp_path / "store.sqlite",
        done=lambda: None,
    )
    assert (verdict.annotator, verdict.outcome) == ("longest", "tie")  # "lima on p0", "base on p0": ten characters each
    assert [ballot.reply for ballot in verdict.ballots] == ["", ""]
    assert not (tmp_path / "store.sqlite").exists()


def test_pairs_are_what_both_answered_sample_by_sample_in_the_prompts_order():
    mine = [response("p2", "lima"), response("p0", "lima", sample=1), response("p0", "lima"), response("p1", "lima")]
    theirs = [response("p0", "base"), response("p0", "base", sample=1), response("p2", "base"), response("p9", "base")]
    found = pairs(PROMPTS, mine, theirs)
    assert [(p.prompt.id, p.a.contestant, p.a.sample, p.b.contestant, p.b.sample) for p in found] == [
        ("p0", "lima", 0, "base", 0),
        ("p0", "lima", 1, "base", 1),
        ("p2", "lima", 0, "base", 0),
    ]


def test_the_store_tells_servers_and_questions_apart_and_survives_closing(tmp_path):
    turns = (Turn(role="user", content="?"),)
    question = Question(model="m", messages=turns, max_tokens=9, temperature=0.0, top_p=1.0, seed=1)
    reply = Reply(text="!", finish="stop", tokens=1)
    with store.opened(tmp_path / "calls.sqlite") as kept:
        kept.put("http://a/v1", question, reply)
    with store.opened(tmp_path / "calls.sqlite") as kept:
        assert kept.get("http://a/v1", question) == reply
        assert kept.get("http://b/v1", question) is None
        assert kept.get("http://a/v1", question.model_copy(update={"seed": 2})) is None
