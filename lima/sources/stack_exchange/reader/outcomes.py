"""Outcomes of a site's posts: kept questions with their answers, and dropped posts with the reason."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lima.records import Dropped
from lima.sources.base import Prefilter
from lima.sources.spill import Records
from lima.sources.stack_exchange.reader.columns import Ints
from lima.sources.stack_exchange.reader.table import ANSWER_BOT, COMMUNITY, FAULTS, NONE, POST

# reasons of the vote prefilter, with the detail; about nine in ten dropped posts, reported in groups
PASSED = {
    "no_answer": "question {number}",
    "low_response_score": "question {number}: {best}, at least {least}",
}
ALONE = (*FAULTS, "duplicate_id", "orphan_answer")  # reported one by one
REASONS = (*ALONE, *PASSED)
CODE = {reason: code for code, reason in enumerate(REASONS)}
# detail of each reason; {0} is the post's id, {1} its parent's
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
        ("place", "i8"),  # line of the question, or of the dropped post
        ("rank", "i4"),  # -1 for a question or a dropped post; for an answer from 0, the best
        ("best", "i8"),  # score of a question's best answer, NONE without answers
        ("share", "f8"),  # hash of an answered question in [0, 1), else infinite
        ("reason", "u1"),  # index of REASONS
    ]
)


class OutcomeRow(NamedTuple):
    """A post and the location of its text."""

    line: int
    at: int
    size: int
    id: int
    score: int


class QuestionState(NamedTuple):
    """A kept question and its answers, best first."""

    question: OutcomeRow
    answers: Iterator[OutcomeRow]
    spared: bool  # kept by the reservoir, regardless of votes


def decode_outcomes(part: Records, *, early: Prefilter | None, shown: str) -> Iterator[QuestionState | Dropped]:
    """Convert a batch of outcomes: first the questions dropped by the prefilter, grouped by reason, then the others.

    Answers to dropped questions are skipped.
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
    """One record for all questions dropped for a reason: names the first one, their number and the last line."""
    if count := len(questions):
        line, number, best = (int(questions[name][0]) for name in ("line", "id", "best"))
        detail = PASSED[reason].format(number=number, best=best, least=least)
        more = f"; so {count - 1} more up to line {questions['line'][-1]}" if count > 1 else ""
        yield Dropped(reason=reason, detail=detail + more, place=f"{shown}:{line}", raw="", rows=count)


def outcomes_of(posts: Records, places: Ints) -> Records:
    """Outcome records for posts, without a reason yet."""
    outcome = np.zeros(len(posts), OUTCOME)
    for name in POST.names or ():
        outcome[name] = posts[name]
    outcome["place"], outcome["rank"], outcome["best"], outcome["share"] = places, -1, NONE, np.inf
    return outcome


def dropped(posts: Records, codes: NDArray[np.integer]) -> Records:
    """Outcome records for dropped posts; `codes`: (posts,) indexes of REASONS."""
    outcome = outcomes_of(posts, posts["line"])
    outcome["reason"] = codes
    return outcome
