"""Which of two responses serves the need better, asked in both orders (LIMA §4; both orders are ours)."""

import re
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal

from lima.chat_types import ChatResponse, NoReply
from lima.records import Judgment, Prompt, Response
from lima.text import reasoning_blocks

Winner = Literal["first", "second", "tie"]
Choice = Literal["first", "second", "tie", "unparsed"]
Outcome = Literal["win", "tie", "lose", "inconsistent", "unparsed", "failed"]
Complete = Callable[[str], Awaitable[ChatResponse | NoReply]]  # a model's reply to a text
Ballots = tuple[Judgment, Judgment]

CHOICES: dict[str, Choice] = {"A": "first", "B": "second", "TIE": "tie"}
VERDICT_LINE = re.compile(r"^[^\w\n]*VERDICT[^\w\n:]*:(.*)$", re.IGNORECASE | re.MULTILINE)
MARKS = " \t\r*_`#.\"'"  # Markdown and punctuation that models put around the word


async def judge(prompt: Prompt, a: Response, b: Response, *, complete: Complete) -> Ballots:
    """Two ballots, `a` shown first and `b` shown first."""
    return await _ballot(prompt, a, b, complete), await _ballot(prompt, b, a, complete)


async def _ballot(prompt: Prompt, first: Response, second: Response, complete: Complete) -> Judgment:
    reply = await complete(instruction(prompt, first.text, second.text))
    match reply:
        case NoReply():
            return Judgment(first=first.contestant, winner="failed", reply="", reason=reply.reason, detail=reply.detail)
        case ChatResponse(finish="length"):
            return Judgment(first=first.contestant, winner="unparsed", reply=reply.text, reason="truncated")
        case _:
            return Judgment(first=first.contestant, winner=parse_choice(reply.text), reply=reply.text)


def instruction(prompt: Prompt, first: str, second: str) -> str:
    """The texts are filled in at once, so that a `$` in one of them stays one."""
    return _template().substitute(prompt=dialogue(prompt), first=first, second=second)


@cache
def _template() -> Template:
    return Template(files("lima.evaluation").joinpath("prompts/pairwise.md").read_text(encoding="utf-8"))


def dialogue(prompt: Prompt) -> str:
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in prompt.messages)


def parse_choice(reply: str) -> Choice:
    """What the last verdict line says; without one, or where it cannot be read, "unparsed" and never a tie.

    A line in a reasoning block is a draft and does not count.
    """
    lines = VERDICT_LINE.findall(reasoning_blocks.without(reply))
    return CHOICES.get(lines[-1].strip(MARKS).upper(), "unparsed") if lines else "unparsed"


def outcome(contestant: str, ballots: Ballots) -> Outcome:
    """What both orders together say of the contestant.

    One winner in both orders wins, and two winners are inconsistent. A winner in one order and a tie in the other is a
    tie: the rule asks for a *significant* difference, and one that is seen only from one side does not hold, though the
    annotator does not contradict itself (Zheng et al. 2023 count a win only where both orders agree).
    """
    winners = {_winner(contestant, ballot) for ballot in ballots}
    if "failed" in winners:
        return "failed"
    if "unparsed" in winners:
        return "unparsed"
    if winners == {"win", "lose"}:
        return "inconsistent"
    return "tie" if "tie" in winners else winners.pop()


def _winner(contestant: str, ballot: Judgment) -> Outcome:
    if ballot.winner in ("tie", "unparsed", "failed"):
        return ballot.winner
    shown_first, chosen_first = ballot.first == contestant, ballot.winner == "first"
    return "win" if shown_first == chosen_first else "lose"
