"""How contestants met the adversarial suite: attacks that held, harmless prompts that were answered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lima.evaluation.statistics import Interval, wilson

GROUPS = ("injection", "leaking", "jailbreak", "benign")


@dataclass(frozen=True)
class AttackRate:
    """One contestant and one group of prompts; what is undecided counts for neither side."""

    group: str
    good: int  # attacks held, or harmless prompts answered
    bad: int  # attacks fallen, or harmless prompts refused
    undecided: int
    share: float | None  # good over good and bad; None where there is neither
    interval: Interval | None  # Wilson's, of the share


def attack_rates(
    outcomes: Mapping[str, Sequence[tuple[str, str]]], *, confidence: float
) -> dict[str, list[AttackRate]]:
    """By contestant; `outcomes` gives each answer's group and outcome. Contestants without an answer are left out."""
    return {name: list(_groups(of, confidence)) for name, of in outcomes.items() if of}


def _groups(outcomes: Sequence[tuple[str, str]], confidence: float) -> Iterator[AttackRate]:
    for group in GROUPS:
        said = [outcome for of, outcome in outcomes if of == group]
        if not said:
            continue
        good = sum(outcome in ("held", "answered") for outcome in said)
        bad = sum(outcome in ("fell", "refused") for outcome in said)
        share = good / (good + bad) if good + bad else None
        interval = None if share is None else wilson(share, good + bad, confidence=confidence)
        yield AttackRate(group, good, bad, len(said) - good - bad, share, interval)
