"""Decisions of hand selection: candidates accepted, rejected or edited by a person (LIMA §2.1).

`lima annotate` writes them. A decision is applied to every candidate with the same texts, so that it survives a new
dump in which votes, ids or other rows have changed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat

from lima import jsonl
from lima.curation import decisions
from lima.curation.decisions import Outcome
from lima.errors import LimaError
from lima.records import Candidate, Dropped, Example, Prompt, Record, Turn


class Review(Record):
    """A person's decision about a candidate: one line of the file filter.reviews."""

    id: str  # of the candidate when it was reviewed
    digest: str  # of its texts, see `content_digest`
    decision: Literal["accept", "reject"]
    status: str  # outcome of the rules when it was reviewed: "kept", or the reason for which they dropped it
    reason: str = ""  # of a rejection
    prompt: str | None = None  # the first exchange, if the person edited it or accepted a dropped candidate
    response: str | None = None
    person: str  # pseudonym
    seconds: NonNegativeFloat
    time: str  # ISO 8601, UTC


class ReviewError(LimaError):
    """A file of decisions that is missing or inconsistent."""


def content_digest(candidate: Candidate) -> str:
    """SHA-256 of a candidate's texts, hexadecimal, independent of its votes and its id."""
    texts = (candidate.title, candidate.description, candidate.response, *(t.content for t in candidate.later_turns))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def read_reviews(path: Path) -> dict[str, Review]:
    """The decisions by digest; of several about the same texts the last one.

    Raises:
        ReviewError: the file does not exist.
    """
    if not path.exists():
        raise ReviewError(f"filter.reviews not found: {path}; correct the path in params.yaml, or create an empty file")
    return {review.digest: review for review in jsonl.read(path, Review)}


def apply_reviews(
    outcomes: Iterable[tuple[Candidate, Outcome]], reviews: Mapping[str, Review]
) -> Iterator[tuple[Candidate, Outcome]]:
    """The outcomes with the decisions applied: kept ones rejected or edited, dropped ones accepted with their texts."""
    for candidate, outcome in outcomes:
        review = reviews.get(content_digest(candidate)) if reviews else None
        yield candidate, outcome if review is None else _reviewed(candidate, outcome, review)


def _reviewed(candidate: Candidate, outcome: Outcome, review: Review) -> Outcome:
    match outcome, review.decision:
        case Example() | Prompt(), "reject":
            return decisions.dropped(candidate, "rejected_by_hand", review.reason)
        case Example(), "accept" if review.prompt is not None and review.response is not None:
            return outcome.model_copy(update={"messages": _edited(outcome.messages, review.prompt, review.response)})
        case Dropped(), "accept" if review.prompt is not None and review.response is not None:
            return decisions.example(candidate, review.prompt, review.response)
    return outcome


def _edited(messages: tuple[Turn, ...], prompt: str, response: str) -> tuple[Turn, ...]:
    """The turns with another first exchange; a system turn and later turns are unchanged."""
    start = 1 if messages[0].role == "system" else 0
    first = (Turn(role="user", content=prompt), Turn(role="assistant", content=response))
    return (*messages[:start], *first, *messages[start + 2 :])
