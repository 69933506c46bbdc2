import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.chat_types import ChatResponse
from lima.evaluation import pairwise
from lima.records import OrderJudgment, Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")


def prompt(*texts):
    roles = ("user", "assistant")
    turns = tuple(Turn(role=roles[number % 2], content=text) for number, text in enumerate(texts))
    return Prompt(id="authored/B/1", messages=turns, tags=(), provenance=PLACE)


def response(contestant, text):
    return Response(prompt_id="authored/B/1", contestant=contestant, sample=0, text=text, finish="stop", tokens=None)


def judgment(first, winner):
    return OrderJudgment(first=first, winner=winner, reply="")


def judged(complete):
    async def answered(text):
        return ChatResponse(text=complete(text), finish="stop", finish_reason="stop", tokens=None)

    ours, rival = response("lima", "good"), response("base", "bad")
    ballots = asyncio.run(pairwise.judge(prompt("?"), ours, rival, complete=answered))
    return pairwise.outcome("lima", ballots), ballots


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("VERDICT: A", "first"),
        ("Some reasons.\nVERDICT: B\n", "second"),
        ("VERDICT: TIE", "tie"),
        ("**VERDICT: A**", "first"),
        ("**Verdict:** `tie`.", "tie"),
        ("VERDICT: A\r\n", "first"),
        ("VERDICT: A\nOn second thought\nVERDICT: B", "second"),
        ("VERDICT: A\nVERDICT: neither of them", "unparsed"),  # the last one binds, readable or not
        ("VERDICT: A|B|TIE", "unparsed"),
        ("VERDICT:\nA", "unparsed"),
        ("my VERDICT: A", "unparsed"),  # no line of its own
        ("A", "unparsed"),
        ("<think>\nVERDICT: B\n</think>\nVERDICT: A", "first"),
        ("VERDICT: A\n<think>\nVERDICT: B\n</think>", "first"),
        ("<think>\nVERDICT: B\n</think>\nNo more.", "unparsed"),
        ("<think>\nVERDICT: B\n", "unparsed"),
        ("VERDICT: B\n</think>\nVERDICT: A", "first"),
        ("VERDICT: B\n</think>\n", "unparsed"),
        ("", "unparsed"),
    ],
)
def test_the_last_verdict_line_is_parsed(reply, choice):
    assert pairwise.parse_choice(reply) == choice


@given(st.text(), st.sampled_from(["A", "B", "TIE"]), st.sampled_from(["", "\n", "\n\nThank you.", "\r\n"]))
def test_text_before_the_last_verdict_line_is_ignored(before, word, after):
    assert pairwise.parse_choice(f"{before}\nVERDICT: {word}{after}") == pairwise.CHOICES[word]


@given(st.text())
def test_every_reply_has_a_choice_and_is_unparsed_without_the_word_verdict(reply):
    choice = pairwise.parse_choice(reply)
    assert choice in ("first", "second", "tie", "unparsed")
    assert "verdict" in reply.lower() or choice == "unparsed"


@pytest.mark.parametrize(
    ("shown_first", "shown_second", "outcome"),  # lima's result in each order
    [
        ("win", "win", "win"),
        ("lose", "lose", "lose"),
        ("tie", "tie", "tie"),
        ("win", "tie", "tie"),  # a significant difference appears in both orders
        ("tie", "win", "tie"),
        ("lose", "tie", "tie"),
        ("tie", "lose", "tie"),
        ("win", "lose", "inconsistent"),
        ("lose", "win", "inconsistent"),
        ("unparsed", "win", "unparsed"),
        ("lose", "unparsed", "unparsed"),
        ("unparsed", "tie", "unparsed"),
        ("unparsed", "unparsed", "unparsed"),
        ("failed", "win", "failed"),
        ("tie", "failed", "failed"),
        ("failed", "unparsed", "failed"),
    ],
)
def test_two_judgments_are_combined_into_one_outcome(shown_first, shown_second, outcome):
    as_first = {"win": "first", "lose": "second", "tie": "tie", "unparsed": "unparsed", "failed": "failed"}
    as_second = as_first | {"win": "second", "lose": "first"}
    ballots = (judgment("lima", as_first[shown_first]), judgment("base", as_second[shown_second]))
    assert pairwise.outcome("lima", ballots) == outcome
    mirrored = {"win": "lose", "lose": "win"}.get(outcome, outcome)
    assert pairwise.outcome("base", ballots) == mirrored


def test_a_judge_that_always_answers_a_is_inconsistent():
    outcome, ballots = judged(lambda text: "VERDICT: A")
    assert outcome == "inconsistent"
    assert [(ballot.first, ballot.winner) for ballot in ballots] == [("lima", "first"), ("base", "first")]


def test_the_same_preference_in_both_orders_wins_and_the_reply_is_recorded():
    def sees(text):
        return "I like it.\nVERDICT: " + ("A" if text.index("good") < text.index("bad") else "B")

    outcome, ballots = judged(sees)
    assert outcome == "win"
    assert [ballot.winner for ballot in ballots] == ["first", "second"]
    assert ballots[0].reply == "I like it.\nVERDICT: A"


def test_placeholders_in_the_texts_are_not_substituted():
    shown = pairwise.instruction(prompt("cost in $first?"), "$second {x}", "$$ 100 %s")
    assert "cost in $first?" in shown
    assert "$second {x}" in shown
    assert "$$ 100 %s" in shown
    assert shown.count("$second") == 1


def test_a_dialogue_is_shown_with_its_roles():
    assert pairwise.dialogue(prompt("a", "b", "c")) == "user: a\n\nassistant: b\n\nuser: c"
