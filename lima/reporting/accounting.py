"""Requests to endpoints: calls, tokens, cost and seconds of contestants and annotators (not in the paper)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from lima.records import Usage
from lima.reporting.results import Results

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Account:
    """Requests of one contestant, or of one annotator in one evaluation."""

    purpose: str  # answers, or the evaluation
    name: str
    models: tuple[str, ...]  # that answered, as reported by the server
    calls: int
    attempts: int  # requests sent, with retries
    prompt_tokens: int | None  # None if no reply has a number
    completion_tokens: int | None
    cost: float | None  # None without prices
    seconds: float  # sum over the last attempts, most of which ran at the same time


def accounts(results: Results) -> list[Account]:
    """One account for each contestant and each annotator of an evaluation that used an endpoint."""
    rows = []
    for name, responses in results.every_response().items():
        rows.append(_account("answers", name, (response.usage for response in responses)))
    for evaluation, by_annotator in results.judgments.items():
        for annotator, judgments in by_annotator.items():
            usages = (reply.usage for judgment in judgments for reply in judgment.replies)
            rows.append(_account(evaluation, annotator, usages))
    return [row for row in rows if row.calls]


def total(rows: Iterable[Account]) -> Account:
    rows = list(rows)
    return Account(
        purpose="together",
        name="",
        models=(),
        calls=sum(row.calls for row in rows),
        attempts=sum(row.attempts for row in rows),
        prompt_tokens=_sum(row.prompt_tokens for row in rows),
        completion_tokens=_sum(row.completion_tokens for row in rows),
        cost=_sum(row.cost for row in rows),
        seconds=sum(row.seconds for row in rows),
    )


def _account(purpose: str, name: str, usages: Iterable[Usage | None]) -> Account:
    known = [usage for usage in usages if usage is not None]
    return Account(
        purpose=purpose,
        name=name,
        models=tuple(sorted({usage.model for usage in known if usage.model})),
        calls=len(known),
        attempts=sum(usage.attempts for usage in known),
        prompt_tokens=_sum(usage.prompt_tokens for usage in known),
        completion_tokens=_sum(usage.completion_tokens for usage in known),
        cost=_sum(usage.cost for usage in known),
        seconds=sum(usage.seconds for usage in known),
    )


def _sum(values: Iterable[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
