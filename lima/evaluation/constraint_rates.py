"""Share of answers that satisfy the constraint of their prompt, by contestant (LIMA appendix E)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lima.evaluation.statistics import Interval, wilson


@dataclass(frozen=True)
class ConstraintRate:
    """One contestant's answers to prompts with a constraint."""

    kept: int  # answers that satisfy the constraint
    answers: int
    share: float
    interval: Interval  # Wilson interval with n = prompts: samples of one prompt do not count as independent
    faults: dict[str, str]  # by prompt, the violation of its first answer that has one


def constraint_rates(
    checked: Mapping[str, Sequence[tuple[str, str | None]]], *, confidence: float
) -> dict[str, ConstraintRate]:
    """Return the rate of each contestant; contestants without an answer to such a prompt are left out.

    Args:
        checked: by contestant, the prompt id and the violation of each answer, None if there is no violation.
    """
    return {name: _rate(answers, confidence) for name, answers in checked.items() if answers}


def _rate(answers: Sequence[tuple[str, str | None]], confidence: float) -> ConstraintRate:
    violations = [(prompt_id, violation) for prompt_id, violation in answers if violation is not None]
    share = 1 - len(violations) / len(answers)
    return ConstraintRate(
        kept=len(answers) - len(violations),
        answers=len(answers),
        share=share,
        interval=wilson(share, len({prompt_id for prompt_id, _ in answers}), confidence=confidence),
        faults=dict(reversed(violations)),
    )
