"""Outcomes of pairs of responses that are judged in both orders (LIMA §4; the paper does not specify both orders)."""

from collections.abc import Sequence
from typing import Literal, get_args

from lima.records import JudgeReply, Judgment, MissingReason

Winner = Literal["first", "second", "tie"]
Outcome = Literal["win", "tie", "lose", "inconsistent", "unparsed", "failed"]
Replies = tuple[JudgeReply, JudgeReply]  # one for each order

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def combine(
    contestant: str, replies: Sequence[JudgeReply]
) -> tuple[Literal["win", "tie", "lose"] | None, MissingReason | None]:
    """Combine the replies of both orders into the contestant's outcome, or the reason why there is none.

    The same winner in both orders wins; two different winners are inconsistent. A winner in one order and a tie in the
    other is a tie: the judge is asked for a significant difference, and one that appears in one order only is not
    significant. (Zheng et al. 2023 also count a win only if both orders agree.)
    """
    missing = [reply.reason or "unparsed" for reply in replies if reply.value is None]
    if missing:
        unreadable = ("unparsed", "truncated")
        return None, next((reason for reason in missing if reason not in unreadable), missing[0])
    results = {_result(contestant, reply) for reply in replies}
    if results == {"win", "lose"}:
        return None, "inconsistent"
    return ("tie" if "tie" in results else results.pop()), None


def outcome(judgment: Judgment) -> Outcome:
    """Return the outcome of a pairwise judgment: its value, or the kind of reason why there is none."""
    match judgment.value:
        case "win" | "tie" | "lose" as value:
            return value
    if judgment.reason == "inconsistent":
        return "inconsistent"
    unreadable = any(reply.value is None and reply.text for reply in judgment.replies)
    return "unparsed" if judgment.reason in ("unparsed", "truncated") and unreadable else "failed"


def _result(contestant: str, reply: JudgeReply) -> Literal["win", "tie", "lose"]:
    if reply.value == "tie":
        return "tie"
    shown_first, preferred_first = reply.first == contestant, reply.value == "first"
    return "win" if shown_first == preferred_first else "lose"
