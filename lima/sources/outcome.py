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
LOW = CODE["low_response_score"]
# of a post's id and its parent's
DETAILS = tuple(
    {
        "fabricated": f"post {{}} of user {COMMUNITY}",
        "bot_answer": f"answer {{}} of user {ANSWER_BOT}",
        "bot_question": f"question {{}} of user {ANSWER_BOT}",
        "closed": "question {}",
        "orphan_answer": "answer {} to question {}, which is not in the dump",
        "no_answer": "question {}",
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
    """Some of the outcomes, one by one; the answers to a question that is dropped are passed over."""
    least = early.min_response_score if early else NONE
    rows = list(zip(*(part[name].tolist() for name in Row._fields), strict=True))
    heads = np.flatnonzero(part["rank"] < 0)
    columns = heads, np.append(heads, len(part))[1:], *(part[name][heads] for name in ("reason", "parent", "best"))
    for head, end, code, parent, best in zip(*(column.tolist() for column in columns), strict=True):
        line, _, _, number, _ = rows[head]
        if code:
            reason = REASONS[code]
            detail = (
                f"question {number}: {best}, at least {least}"
                if code == LOW  # nine of ten
                else DETAILS[code].format(number, parent)
            )
            yield Dropped(reason=reason, detail=detail, place=f"{shown}:{line}", raw="")
        else:
            yield Asked(Row(*rows[head]), map(Row._make, rows[head + 1 : end]), spared=best < least)


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
