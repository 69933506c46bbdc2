"""Share of prompts and instructions that a contestant's answers satisfy, as in IFEval (LIMA appendix E).

Strict: a prompt is kept if its answer satisfies all of its constraints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lima.evaluation.statistics import Interval, wilson


@dataclass(frozen=True)
class ConstraintRate:
    """One contestant's answers to prompts with constraints."""

    kept: int  # answers that satisfy all constraints of their prompt
    answers: int
    share: float  # prompt-level
    interval: Interval  # Wilson interval with n = prompts: samples of one prompt do not count as independent
    instructions_kept: int  # constraints that are satisfied, over all answers
    instructions: int
    instruction_share: float
    faults: dict[str, str]  # by prompt, the first violation of its first answer that has one


def constraint_rates(
    checked: Mapping[str, Sequence[tuple[str, Sequence[str | None]]]], *, confidence: float
) -> dict[str, ConstraintRate]:
    """Return the rate of each contestant; contestants without an answer to such a prompt are left out.

    Args:
        checked: by contestant, the prompt id of each answer and the violation of each constraint, None if satisfied.
    """
    return {name: _rate(answers, confidence) for name, answers in checked.items() if answers}


def _rate(answers: Sequence[tuple[str, Sequence[str | None]]], confidence: float) -> ConstraintRate:
    firsts = [(prompt_id, next(filter(None, violations), None)) for prompt_id, violations in answers]
    faults = [(prompt_id, fault) for prompt_id, fault in firsts if fault is not None]
    instructions = [fault is None for _, violations in answers for fault in violations]
    share = 1 - len(faults) / len(answers)
    return ConstraintRate(
        kept=len(answers) - len(faults),
        answers=len(answers),
        share=share,
        interval=wilson(share, len({prompt_id for prompt_id, _ in answers}), confidence=confidence),
        instructions_kept=sum(instructions),
        instructions=len(instructions),
        instruction_share=sum(instructions) / len(instructions),
        faults=dict(reversed(faults)),
    )
