"""What becomes of a site's posts: records of numbers on the way, one by one at the end."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lima.records import Dropped
from lima.sources.base import Prefilter
from lima.sources.spill import Records
from lima.sources.stack_exchange.columns import Ints
from lima.sources.stack_exchange.table import ANSWER_BOT, COMMUNITY, FAULTS, NONE, POST

# a question is passed over for its votes, unread: nine in ten of all that is dropped
PASSED = {
    "no_answer": "question {number}",
    "low_response_score": "question {number}: {best}, at least {least}",
}
ALONE = (*FAULTS, "duplicate_id", "orphan_answer")  # told one by one
REASONS = (*ALONE, *PASSED)
CODE = {reason: code for code, reason in enumerate(REASONS)}
# of a post's id and its parent's
DETAILS = tuple(
    {
        "fabricated": f"post {{}} of user {COMMUNITY}",
        "bot_answer": f"answer {{}} of user {ANSWER_BOT}",
        "bot_question": f"question {{}} of user {ANSWER_BOT}",
        "closed": "question {}",
        "orphan_answer": "answer {} to question {}, which is not in the dump",
    }.get(reason, "post {}")
    .replace("{}", "{0}", 1)
    .replace("{}", "{1}")
    for reason in ALONE
)
OUTCOME = np.dtype(
    [
        *POST.descr,
        ("place", "i8"),  # line of the question, or of what is dropped
        ("rank", "i4"),  # -1, or of an answer, 0 for the best
        ("best", "i8"),  # score of a question's best answer, NONE where there is none
        ("share", "f8"),  # of an answered question in [0, 1), infinite of another
        ("reason", "u1"),  # an index of REASONS
    ]
)


class OutcomeRow(NamedTuple):
    """Where a post's text is."""

    line: int
    at: int
    size: int
    id: int
    score: int


class QuestionState(NamedTuple):
    """A question that stays, its answers from the best on."""

    question: OutcomeRow
    answers: Iterator[OutcomeRow]
    spared: bool  # whatever its votes


def told(part: Records, *, early: Prefilter | None, shown: str) -> Iterator[QuestionState | Dropped]:
    """Some of the outcomes: questions that are passed over for their votes together, then the others one by one.

    The answers to a question that is dropped are passed over.
    """
    least = early.min_response_score if early else NONE
    for reason in PASSED:
        yield from _together(part.compress(part["reason"] == CODE[reason]), reason, least=least, shown=shown)
    heads = np.flatnonzero(part["rank"] < 0)
    sizes = np.diff(np.append(heads, len(part)))
    stays = part["reason"][heads] < len(ALONE)
    part, sizes = part.compress(np.repeat(stays, sizes)), sizes[stays]
    heads = np.cumsum(sizes) - sizes
    rows = list(zip(*(part[name].tolist() for name in OutcomeRow._fields), strict=True))
    columns = heads, heads + sizes, *(part[name][heads] for name in ("reason", "parent", "best"))
    for head, end, code, parent, best in zip(*(column.tolist() for column in columns), strict=True):
        line, _, _, number, _ = rows[head]
        if code:
            detail = DETAILS[code].format(number, parent)
            yield Dropped(reason=REASONS[code], detail=detail, place=f"{shown}:{line}", raw="")
        else:
            yield QuestionState(
                OutcomeRow(*rows[head]), map(OutcomeRow._make, rows[head + 1 : end]), spared=best < least
            )


def _together(questions: Records, reason: str, *, least: int, shown: str) -> Iterator[Dropped]:
    """One line for all, which tells the first of them and how far they go."""
    if count := len(questions):
        line, number, best = (int(questions[name][0]) for name in ("line", "id", "best"))
        detail = PASSED[reason].format(number=number, best=best, least=least)
        more = f"; so {count - 1} more up to line {questions['line'][-1]}" if count > 1 else ""
        yield Dropped(reason=reason, detail=detail + more, place=f"{shown}:{line}", raw="", rows=count)


def outcomes_of(posts: Records, places: Ints) -> Records:
    outcome = np.zeros(len(posts), OUTCOME)
    for name in POST.names or ():
        outcome[name] = posts[name]
    outcome["place"], outcome["rank"], outcome["best"], outcome["share"] = places, -1, NONE, np.inf
    return outcome


def dropped(posts: Records, codes: NDArray[np.integer]) -> Records:
    outcome = outcomes_of(posts, posts["line"])
    outcome["reason"] = codes
    return outcome
