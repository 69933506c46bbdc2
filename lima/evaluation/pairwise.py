"""Pairwise comparison of two responses, judged in both orders (LIMA §4; the paper does not specify both orders)."""

import re
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal

from lima.chat_types import ChatResponse, NoReply
from lima.records import OrderJudgment, Prompt, Response
from lima.text import reasoning_blocks

Winner = Literal["first", "second", "tie"]
Choice = Literal["first", "second", "tie", "unparsed"]
Outcome = Literal["win", "tie", "lose", "inconsistent", "unparsed", "failed"]
JudgeFn = Callable[[str], Awaitable[ChatResponse | NoReply]]  # a model's reply to a text
Judgments = tuple[OrderJudgment, OrderJudgment]  # one for each order

CHOICES: dict[str, Choice] = {"A": "first", "B": "second", "TIE": "tie"}
VERDICT_LINE = re.compile(r"^[^\w\n]*VERDICT[^\w\n:]*:(.*)$", re.IGNORECASE | re.MULTILINE)
MARKS = " \t\r*_`#.\"'"  # Markdown and punctuation that models put around the word


async def judge(prompt: Prompt, a: Response, b: Response, *, complete: JudgeFn) -> Judgments:
    """Return two judgments, with `a` shown first and with `b` shown first."""
    return await _judge_once(prompt, a, b, complete), await _judge_once(prompt, b, a, complete)


async def _judge_once(prompt: Prompt, first: Response, second: Response, complete: JudgeFn) -> OrderJudgment:
    reply = await complete(instruction(prompt, first.text, second.text))
    match reply:
        case NoReply():
            return OrderJudgment(
                first=first.contestant, winner="failed", reply="", reason=reply.reason, detail=reply.detail
            )
        case ChatResponse(finish="length"):
            return OrderJudgment(first=first.contestant, winner="unparsed", reply=reply.text, reason="truncated")
        case _:
            return OrderJudgment(first=first.contestant, winner=parse_choice(reply.text), reply=reply.text)


def instruction(prompt: Prompt, first: str, second: str) -> str:
    """Fill the judge's prompt template; a `$` in a text is not substituted."""
    return _template().substitute(prompt=dialogue(prompt), first=first, second=second)


@cache
def _template() -> Template:
    return Template(files("lima.evaluation").joinpath("prompts/pairwise_in_one_turn.md").read_text(encoding="utf-8"))


def dialogue(prompt: Prompt) -> str:
    """The text of a single-turn prompt; several turns are prefixed with their roles."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in prompt.messages)


def parse_choice(reply: str) -> Choice:
    """Parse the last verdict line of a reply.

    A missing or unreadable line is "unparsed", never a tie. Lines in reasoning blocks are drafts and are ignored.
    """
    lines = VERDICT_LINE.findall(reasoning_blocks.without(reply))
    return CHOICES.get(lines[-1].strip(MARKS).upper(), "unparsed") if lines else "unparsed"


def outcome(contestant: str, judgments: Judgments) -> Outcome:
    """Combine the judgments of both orders into the contestant's outcome.

    The same winner in both orders wins; two different winners are inconsistent. A winner in one order and a tie in the
    other is a tie: the judge is asked for a significant difference, and one that appears in one order only is not
    significant. (Zheng et al. 2023 also count a win only if both orders agree.)
    """
    results = {_result(contestant, judgment) for judgment in judgments}
    if "failed" in results:
        return "failed"
    if "unparsed" in results:
        return "unparsed"
    if results == {"win", "lose"}:
        return "inconsistent"
    return "tie" if "tie" in results else results.pop()


def _result(contestant: str, judgment: OrderJudgment) -> Outcome:
    if judgment.winner in ("tie", "unparsed", "failed"):
        return judgment.winner
    shown_first, preferred_first = judgment.first == contestant, judgment.winner == "first"
    return "win" if shown_first == preferred_first else "lose"
