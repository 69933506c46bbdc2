"""What becomes of a site's posts: records of numbers on the way, one by one at the end."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lima.records import Dropped
from lima.sources.columns import Ints
from lima.sources.reading import Early
from lima.sources.spill import Records
from lima.sources.table import ANSWER_BOT, COMMUNITY, FAULTS, NONE, POST

REASONS = (*FAULTS, "duplicate_id", "orphan_answer", "no_answer", "low_response_score")
CODE = {reason: code for code, reason in enumerate(REASONS)}
PASSED = ("no_answer", "low_response_score")  # nine questions of ten, which nobody reads
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
    for reason in REASONS
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


class Row(NamedTuple):
    """Where a post's text is."""

    line: int
    at: int
    size: int
    id: int
    score: int


class Asked(NamedTuple):
    """A question that stays, its answers from the best on."""

    question: Row
    answers: Iterator[Row]
    spared: bool  # whatever its votes


def told(part: Records, *, early: Early | None, shown: str) -> Iterator[Asked | Dropped]:
    """Some of the outcomes: questions that are passed over for their votes together, then the others one by one.

    The answers to a question that is dropped are passed over.
    """
    heads = np.flatnonzero(part["rank"] < 0)
    sizes = np.diff(np.append(heads, len(part)))
    if early:
        passed = np.zeros(len(heads), np.bool_)
        for reason in PASSED:
            these = part["reason"][heads] == CODE[reason]
            yield from _together(part.take(heads[these]), reason, least=early.min_response_score, shown=shown)
            passed |= these
        part, sizes = part.compress(np.repeat(~passed, sizes)), sizes[~passed]
        heads = np.cumsum(sizes) - sizes
    least = early.min_response_score if early else NONE
    rows = list(zip(*(part[name].tolist() for name in Row._fields), strict=True))
    columns = heads, heads + sizes, *(part[name][heads] for name in ("reason", "parent", "best"))
    for head, end, code, parent, best in zip(*(column.tolist() for column in columns), strict=True):
        line, _, _, number, _ = rows[head]
        if code:
            detail = DETAILS[code].format(number, parent)
            yield Dropped(reason=REASONS[code], detail=detail, place=f"{shown}:{line}", raw="")
        else:
            yield Asked(Row(*rows[head]), map(Row._make, rows[head + 1 : end]), spared=best < least)


def _together(questions: Records, reason: str, *, least: int, shown: str) -> Iterator[Dropped]:
    """One line for all, which tells the first of them and how far they go."""
    if count := len(questions):
        line, number, best = (int(questions[name][0]) for name in ("line", "id", "best"))
        detail = f"question {number}" + (f": {best}, at least {least}" if reason == "low_response_score" else "")
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
