"""Likelihood of recorded answers under each contestant's model, a comparison without annotators (not in the paper).

It measures how well a model predicts these texts, their style included. It is not a preference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lima.config import Params
from lima.config.entries import BaseContestant
from lima.evaluation.statistics.clusters import clustered_ratio
from lima.evaluation.statistics.estimates import Estimate, Interval, NotEstimable
from lima.records import AnswerLikelihood

Answer = tuple[str, int]  # prompt id, sample


@dataclass(frozen=True)
class Likelihood:
    """Likelihood of the recorded answers under one contestant's model."""

    answers: int
    tokens: int  # scored
    truncated: int  # answers of which only the beginning was scored
    per_token: float  # mean log-likelihood of a token, natural logarithm
    perplexity: float  # exp(−per_token)
    interval: Interval | None  # of the perplexity, over prompts; None with one prompt
    reference: str | None  # the untuned base model, if it scored the same tokens of some answers
    paired: int  # answers of which both scored equally many tokens
    difference: Estimate | None  # log-likelihood per token minus that of the reference, over the paired answers


def measure(p: Params, scored: Mapping[str, Sequence[AnswerLikelihood]], *, confidence: float) -> dict[str, Likelihood]:
    """Measure each contestant with scored answers.

    The mean is over tokens, Σ log-likelihood / Σ tokens. Its interval has the clustered standard error over prompts,
    since the tokens of one answer are dependent. A difference is over the answers of which both models scored equally
    many tokens; with different tokenizers there is none.
    """
    base = next((name for name in scored if isinstance(p.contestants[name], BaseContestant)), None)
    return {name: _measure(name, scored, base, confidence) for name in scored}


def _measure(
    name: str, scored: Mapping[str, Sequence[AnswerLikelihood]], base: str | None, confidence: float
) -> Likelihood:
    answers = {(row.prompt_id, row.sample): (row.log_likelihood, row.tokens) for row in scored[name]}
    estimate = _per_token(answers, confidence)
    total, tokens = (sum(values) for values in zip(*answers.values(), strict=True))
    reference = difference = None
    paired = 0
    if base is not None and base != name:
        others = {(row.prompt_id, row.sample): (row.log_likelihood, row.tokens) for row in scored[base]}
        shared = [answer for answer in answers if answer in others and answers[answer][1] == others[answer][1]]
        if shared:
            reference, paired = base, len(shared)
            difference = _per_token(
                {answer: (answers[answer][0] - others[answer][0], answers[answer][1]) for answer in shared}, confidence
            )
    return Likelihood(
        answers=len(answers),
        tokens=int(tokens),
        truncated=sum(row.truncated for row in scored[name]),
        per_token=total / tokens,
        perplexity=math.exp(-total / tokens),
        interval=Interval(math.exp(-estimate.interval.high), math.exp(-estimate.interval.low)) if estimate else None,
        reference=reference,
        paired=paired,
        difference=difference,
    )


def _per_token(answers: Mapping[Answer, tuple[float, int]], confidence: float) -> Estimate | None:
    """Mean of a token; None if the answers are to one prompt only."""
    by_prompt: dict[str, list[tuple[float, int]]] = {}
    for (prompt, _), values in answers.items():
        by_prompt.setdefault(prompt, []).append(values)
    sums, sizes = np.array([np.sum(values, axis=0) for values in by_prompt.values()], float).T
    try:
        return clustered_ratio(sums, sizes, confidence=confidence)
    except NotEstimable:
        return None
