"""How many answers keep the form that their prompt prescribes, by contestant (LIMA appendix E)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lima.evaluation.statistics import Interval, wilson


@dataclass(frozen=True)
class ConstraintRate:
    """One contestant's answers to prompts that prescribe a form."""

    kept: int
    answers: int
    share: float
    interval: Interval  # Wilson's, over prompts, as if the samples of one prompt told the same
    faults: dict[str, str]  # by prompt, what broke the form in its first answer that does not keep it


def constraint_rates(
    found: Mapping[str, Sequence[tuple[str, str | None]]], *, confidence: float
) -> dict[str, ConstraintRate]:
    """By contestant; `found` gives each answer's prompt and what breaks the form, None where nothing does.

    Contestants that answered no such prompt are left out.
    """
    return {name: _kept(of, confidence) for name, of in found.items() if of}


def _kept(found: Sequence[tuple[str, str | None]], confidence: float) -> ConstraintRate:
    broken = [(prompt, fault) for prompt, fault in found if fault is not None]
    share = 1 - len(broken) / len(found)
    return ConstraintRate(
        kept=len(found) - len(broken),
        answers=len(found),
        share=share,
        interval=wilson(share, len({prompt for prompt, _ in found}), confidence=confidence),
        faults=dict(reversed(broken)),
    )
