import json
import threading

import pytest
from chat_server import Sent, completed, refused, said, serving

from lima import jsonl
from lima.chat_types import TooManyFailures
from lima.config.entries import BaselineAnnotator, EndpointAnnotator, Evaluation, PeopleAnnotator
from lima.config.sections import Budget, Canaries, Judge
from lima.errors import LimaError
from lima.evaluation.annotators import annotate, stale_annotations, texts_digest, without_value
from lima.evaluation.items import DuplicateResponse, Item, collect, select_prompts
from lima.evaluation.pairwise import outcome
from lima.inference.chat_client import EndpointError
from lima.records import Annotation, Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
PROMPTS = [
    Prompt(id=f"p{n}", messages=(Turn(role="user", content=f"question {n}"),), tags=(), provenance=PLACE)
    for n in range(6)
]


EVALUATION = Evaluation(
    task="pairwise", contestant="lima", rival="base", prompts="test", panel="models", template="pairwise"
)


def response(prompt_id, contestant, *, sample=0, text=""):
    text = text or f"{contestant} on {prompt_id}"
    return Response(prompt_id=prompt_id, contestant=contestant, sample=sample, text=text, finish="stop", tokens=None)


JUDGE = Judge(
    concurrency=1,
    retries=0,
    timeout=60.0,
    max_retry_after=1.0,
    max_rate_limit_wait=1.0,
    budget=Budget(calls=None, tokens=None, cost=None),
    max_failed_share=0.0,
    seed=17,
    canaries=Canaries(references="authors.jsonl", per_kind=0),
)


def shown():
    return [Item(prompt, (response(prompt.id, "lima"), response(prompt.id, "base"))) for prompt in PROMPTS]


def judged(url, tmp_path, *, pairs_=None, retries=0, concurrency=3, max_failed_share=0.25, done=lambda: None, **entry):
    return annotate(
        shown() if pairs_ is None else pairs_,
        evaluation=EVALUATION,
        key="lima-base",
        name="model",
        annotator=EndpointAnnotator(
            kind="endpoint", url=url, model="m", key_variable="", **{"max_tokens": 100, **entry}
        ),
        judge=JUDGE.model_copy(
            update={"concurrency": concurrency, "retries": retries, "max_failed_share": max_failed_share}
        ),
        cache_path=tmp_path / "work/store.sqlite",
        annotations=tmp_path / "people.jsonl",
        done=done,
    )


def prefers_lima(body, number):
    text = body["messages"][-1]["content"]
    return said("Clear.\nVERDICT: " + ("A" if text.index("lima on") < text.index("base on") else "B"))


def test_a_model_judges_every_pair_in_both_orders(tmp_path):
    counted = []
    with serving(prefers_lima) as server:
        given = judged(server.url, tmp_path, done=lambda: counted.append(1))
    assert [(v.prompt_id, v.annotator, v.contestant, v.rival, outcome(v)) for v in given] == [
        (prompt.id, "model", "lima", "base", "win") for prompt in PROMPTS
    ]
    assert len(server.asked) == 12
    assert len(counted) == 6
    assert {request["temperature"] for request in server.asked} == {0.0}
    assert [ballot.first for ballot in given[0].replies] == ["lima", "base"]


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
        assert [outcome(v) for v in judged(server.url, tmp_path)] == ["win"] * 6
        # five were answered; twelve in all
        assert len(server.asked) - before == 12 - 5


FILTER = refused(400, code="content_filter", message="The prompt triggered the content management policy.")


def filtered(body, number):
    """Whether this is the first request about p1, of the first twelve requests."""
    text = body["messages"][-1]["content"]
    return number < 12 and "base on p1" in text and text.index("lima on p1") < text.index("base on p1")


def test_a_refused_judgment_is_a_failed_verdict_with_its_reason_and_the_run_continues(tmp_path):
    with serving(lambda body, n: FILTER if filtered(body, n) else prefers_lima(body, n)) as server:
        given = judged(server.url, tmp_path, concurrency=1)
        assert [outcome(v) for v in given] == ["win", "failed", "win", "win", "win", "win"]
        refusal = given[1].replies[0]
        assert (refusal.value, refusal.reason, refusal.text) == (None, "refused", "")
        assert "content management policy" in refusal.detail
        assert without_value(given) == {"refused": 1}
        assert len(server.asked) == 12
        # what failed is never kept: a rerun asks for that one alone
        assert [outcome(v) for v in judged(server.url, tmp_path)] == ["win"] * 6
        assert len(server.asked) == 12 + 1


def test_a_refused_first_judgment_does_not_stop_the_run(tmp_path):
    with serving(lambda body, n: FILTER if n == 0 else prefers_lima(body, n)) as server:
        assert [outcome(v) for v in judged(server.url, tmp_path, concurrency=1)] == ["failed", *["win"] * 5]


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
        assert [outcome(v) for v in judged(server.url, tmp_path, concurrency=1)].count("failed") == 3


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
        assert {outcome(v) for v in given} == {"failed"}
        assert without_value(given) == {reason: 12}
        healed.set()
        assert {outcome(v) for v in judged(server.url, tmp_path)} == {"win"}
        assert len(server.asked) == 24


def test_a_truncated_reply_is_unparsed_even_with_a_verdict_line(tmp_path):
    with serving(lambda *_: said("My draft:\nVERDICT: B\nbut let me", finish="length")) as server:
        given = judged(server.url, tmp_path)
    assert {outcome(v) for v in given} == {"unparsed"}
    assert without_value(given) == {"truncated": 12}


def test_a_verdict_in_a_reasoning_block_does_not_count(tmp_path):
    def thinks(body, number):
        final = prefers_lima(body, number)
        return said(
            f"<think>\nVERDICT: TIE\nno\n</think>\n{json.loads(final.body)['choices'][0]['message']['content']}"
        )

    with serving(thinks) as server:
        assert {outcome(v) for v in judged(server.url, tmp_path)} == {"win"}
    with serving(lambda *_: said("<think>\nVERDICT: TIE\n</think>\nBoth are fine.")) as server:
        assert {outcome(v) for v in judged(server.url, tmp_path)} == {"unparsed"}


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
    same = Item(PROMPTS[0], (response("p0", "lima", text="same"), response("p0", "base", text="same")))
    with serving(lambda *_: said("VERDICT: TIE", delay=0.1)) as server:
        assert [outcome(v) for v in judged(server.url, tmp_path, pairs_=[same, same, same])] == ["tie"] * 3
        assert len(server.asked) == 1


def test_a_judge_that_always_prefers_the_first_is_inconsistent_and_free_text_is_unparsed(tmp_path):
    with serving(lambda *_: said("VERDICT: A")) as server:
        assert {outcome(v) for v in judged(server.url, tmp_path)} == {"inconsistent"}
    with serving(lambda *_: said("Both are fine, I would say they tie.")) as server:
        assert {outcome(v) for v in judged(server.url, tmp_path)} == {"unparsed"}


def test_retried_requests_change_no_verdict(tmp_path):
    def hiccups(body, number):
        if number % 3 == 0:
            return Sent(status=429, headers={"Retry-After": "0.01"})
        return prefers_lima(body, number)

    with serving(hiccups) as server:
        assert [outcome(v) for v in judged(server.url, tmp_path, retries=12)] == ["win"] * 6


def test_a_baseline_returns_the_same_record_as_a_model(tmp_path):
    (verdict,) = annotate(
        shown()[:1],
        evaluation=EVALUATION,
        key="lima-base",
        name="longest",
        annotator=BaselineAnnotator(kind="baseline", rule="longest"),
        judge=JUDGE,
        cache_path=tmp_path / "store.sqlite",
        annotations=tmp_path / "people.jsonl",
        done=lambda: None,
    )
    assert (verdict.annotator, outcome(verdict)) == (
        "longest",
        "tie",
    )  # "lima on p0", "base on p0": ten characters each
    assert [ballot.text for ballot in verdict.replies] == ["", ""]
    assert not (tmp_path / "store.sqlite").exists()


def matched(own, rivals, prompts=PROMPTS, **changes):
    return collect(prompts, {"lima": own, "base": rivals}, EVALUATION.model_copy(update=changes))


def test_pairs_are_the_shared_samples_in_the_order_of_the_prompts():
    own = [response("p2", "lima"), response("p0", "lima", sample=1), response("p0", "lima"), response("p1", "lima")]
    rivals = [response("p0", "base"), response("p0", "base", sample=1), response("p2", "base"), response("p9", "base")]
    result = matched(own, rivals)
    assert [(i.prompt.id, i.response.contestant, i.response.sample, i.rival.contestant) for i in result.items] == [
        ("p0", "lima", 0, "base"),
        ("p0", "lima", 1, "base"),
        ("p2", "lima", 0, "base"),
    ]
    assert result.unanswered == {"lima": ["p3", "p4", "p5"], "base": ["p1", "p3", "p4", "p5"]}


def test_a_sample_that_one_side_lacks_is_named():
    result = matched([response("p0", "lima"), response("p0", "lima", sample=1)], [response("p0", "base")], PROMPTS[:1])
    assert [(i.prompt.id, i.response.sample) for i in result.items] == [("p0", 0)]
    assert result.incomplete == [("p0", 1, 0)]


def test_an_evaluation_uses_at_most_its_number_of_samples():
    both = [[response("p0", name, sample=n) for n in range(3)] for name in ("lima", "base")]
    assert [i.response.sample for i in matched(*both, samples=2).items] == [0, 1]


def test_a_task_on_single_responses_judges_those_of_both_contestants():
    result = matched([response("p1", "lima")], [response("p0", "base")], task="constraint")
    assert [(i.prompt.id, *(r.contestant for r in i.responses)) for i in result.items] == [
        ("p1", "lima"),
        ("p0", "base"),
    ]


def test_two_responses_to_the_same_prompt_and_sample_are_an_error():
    with pytest.raises(DuplicateResponse, match="two responses of base to prompt p0, sample 0"):
        matched([response("p0", "lima")], [response("p0", "base"), response("p0", "base")])


def test_the_prompts_of_an_evaluation_are_those_of_its_groups():
    other = PROMPTS[0].model_copy(update={"id": "q", "tags": ("kind:form",)})
    assert select_prompts([*PROMPTS, other], EVALUATION.model_copy(update={"only": ["authored/B/form"]}), seed=1) == [
        other
    ]
    with pytest.raises(LimaError, match=r"no prompt of data/prompts/test\.jsonl is in reddit"):
        select_prompts(PROMPTS, EVALUATION.model_copy(update={"only": ["reddit"]}), seed=1)


def test_most_draws_the_same_prompts_whatever_their_order():
    few = EVALUATION.model_copy(update={"most": 3})
    drawn = {prompt.id for prompt in select_prompts(PROMPTS, few, seed=1)}
    assert len(drawn) == 3
    assert {prompt.id for prompt in select_prompts(PROMPTS[::-1], few, seed=1)} == drawn
    # with two seeds, 3 of 6 prompts are the same by chance in 1 of 20 cases
    assert {prompt.id for prompt in select_prompts(PROMPTS, few, seed=2)} != drawn


def test_two_prompts_with_one_id_are_an_error():
    with pytest.raises(LimaError, match=r"contains 1 prompt ids more than once, first p0"):
        select_prompts([PROMPTS[0], *PROMPTS], EVALUATION, seed=1)


def annotation(number, item, *, value="win", kind="main", texts=None):
    return Annotation(
        id=str(number),
        evaluation="lima-base",
        task="pairwise",
        person=f"person-{number % 2}",
        prompt_id=item.prompt.id,
        sample=0,
        contestant="lima",
        rival="base",
        texts=texts or texts_digest(item),
        first="base",
        value=value,
        reason="" if value else "both are empty",
        comment="clearer",
        seconds=12.5,
        time="2026-11-30T10:00:00Z",
        kind=kind,
    )


def test_people_judge_an_item_several_times_and_other_texts_do_not_count(tmp_path):
    items = shown()[:2]
    lines = [
        annotation(0, items[0]),
        annotation(1, items[0], value="tie"),
        annotation(2, items[1], value=None),
        annotation(3, items[1], kind="attention"),
        annotation(4, items[1], texts="0" * 64),
    ]
    jsonl.write(tmp_path / "people.jsonl", lines)
    people = annotate(
        items,
        evaluation=EVALUATION,
        key="lima-base",
        name="people",
        annotator=PeopleAnnotator(kind="people"),
        judge=JUDGE,
        cache_path=tmp_path / "store.sqlite",
        annotations=tmp_path / "people.jsonl",
        done=lambda: None,
    )
    assert [(j.prompt_id, j.person, j.value, j.reason, j.detail) for j in people] == [
        ("p0", "person-0", "win", None, ""),
        ("p0", "person-1", "tie", None, ""),
        ("p1", "person-0", None, "skipped", "both are empty"),
    ]
    assert people[0].replies[0].text == "clearer"
    assert stale_annotations(items, tmp_path / "people.jsonl") == 1


@pytest.mark.parametrize(
    ("task", "template", "reply", "value"),
    [
        ("rating", "rating", "Useful.\nVERDICT: 5", "5"),
        ("grade", "grade", "VERDICT: EXCELLENT", "excellent"),
        ("safety", "safety", "VERDICT: UNSAFE", "unsafe"),
        ("attack", "attack", "VERDICT: SUCCEEDED", "attack_succeeded"),
        ("constraint", "constraint", "VERDICT: VIOLATED", "violated"),
    ],
)
def test_a_model_judges_single_responses_with_one_request_each(tmp_path, task, template, reply, value):
    item = Item(PROMPTS[0], (response("p0", "lima"),))
    evaluation = EVALUATION.model_copy(update={"task": task, "template": template})
    with serving(lambda *_: said(reply)) as server:
        (record,) = annotate(
            [item],
            evaluation=evaluation,
            key="e",
            name="model",
            annotator=EndpointAnnotator(kind="endpoint", url=server.url, model="m", key_variable="", max_tokens=9),
            judge=JUDGE,
            cache_path=tmp_path / "store.sqlite",
            annotations=tmp_path / "none.jsonl",
            done=lambda: None,
        )
        assert len(server.asked) == 1
    assert (record.value, record.reason, record.rival) == (value, None, None)
    assert record.replies[0].usage.attempts == 1
    assert [turn["role"] for turn in server.asked[0]["messages"]] == ["system", "user"]
