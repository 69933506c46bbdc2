import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.chat_types import ChatResponse
from lima.evaluation import pairwise
from lima.records import Judgment, Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", licence="MIT", digest="0")


def prompt(*texts):
    roles = ("user", "assistant")
    turns = tuple(Turn(role=roles[number % 2], content=text) for number, text in enumerate(texts))
    return Prompt(id="authored/B/1", messages=turns, tags=(), provenance=PLACE)


def response(contestant, text):
    return Response(prompt_id="authored/B/1", contestant=contestant, sample=0, text=text, finish="stop", tokens=None)


def cast(first, winner):
    return Judgment(first=first, winner=winner, reply="")


def judged(complete):
    async def answered(text):
        return ChatResponse(text=complete(text), finish="stop", finish_reason="stop", tokens=None)

    mine, theirs = response("lima", "good"), response("base", "bad")
    ballots = asyncio.run(pairwise.judge(prompt("?"), mine, theirs, complete=answered))
    return pairwise.outcome("lima", ballots), ballots


@pytest.mark.parametrize(
    ("reply", "vote"),
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
def test_a_verdict_is_a_line_of_its_own(reply, vote):
    assert pairwise.parse_choice(reply) == vote


@given(st.text(), st.sampled_from(["A", "B", "TIE"]), st.sampled_from(["", "\n", "\n\nThank you.", "\r\n"]))
def test_the_last_verdict_line_binds_whatever_stands_before(before, word, after):
    assert pairwise.parse_choice(f"{before}\nVERDICT: {word}{after}") == pairwise.CHOICES[word]


@given(st.text())
def test_every_reply_has_a_vote_and_without_the_word_it_is_unparsed(reply):
    vote = pairwise.parse_choice(reply)
    assert vote in ("first", "second", "tie", "unparsed")
    assert "verdict" in reply.lower() or vote == "unparsed"


@pytest.mark.parametrize(
    ("shown_first", "shown_second", "outcome"),  # what the ballots say of lima, in the two orders
    [
        ("win", "win", "win"),
        ("lose", "lose", "lose"),
        ("tie", "tie", "tie"),
        ("win", "tie", "tie"),  # a significant difference has to be seen from both sides
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
def test_two_ballots_make_one_outcome(shown_first, shown_second, outcome):
    as_first = {"win": "first", "lose": "second", "tie": "tie", "unparsed": "unparsed", "failed": "failed"}
    as_second = as_first | {"win": "second", "lose": "first"}
    ballots = (cast("lima", as_first[shown_first]), cast("base", as_second[shown_second]))
    assert pairwise.outcome("lima", ballots) == outcome
    mirrored = {"win": "lose", "lose": "win"}.get(outcome, outcome)
    assert pairwise.outcome("base", ballots) == mirrored


def test_an_annotator_that_always_says_a_is_inconsistent():
    outcome, ballots = judged(lambda text: "VERDICT: A")
    assert outcome == "inconsistent"
    assert [(ballot.first, ballot.winner) for ballot in ballots] == [("lima", "first"), ("base", "first")]


def test_an_annotator_that_sees_the_better_text_wins_in_both_orders_and_keeps_its_words():
    def sees(text):
        return "I like it.\nVERDICT: " + ("A" if text.index("good") < text.index("bad") else "B")

    outcome, ballots = judged(sees)
    assert outcome == "win"
    assert [ballot.winner for ballot in ballots] == ["first", "second"]
    assert ballots[0].reply == "I like it.\nVERDICT: A"


def test_the_texts_are_shown_as_they_are_even_where_they_look_like_places_to_fill():
    shown = pairwise.instruction(prompt("cost in $first?"), "$second {x}", "$$ 100 %s")
    assert "cost in $first?" in shown
    assert "$second {x}" in shown
    assert "$$ 100 %s" in shown
    assert shown.count("$second") == 1


def test_a_dialogue_is_shown_with_its_speakers():
    assert pairwise.dialogue(prompt("a", "b", "c")) == "user: a\n\nassistant: b\n\nuser: c"
