"""Which of an arm's checkpoints speaks for it (LIMA §3: one of the epochs, chosen on the dev prompts)."""

from collections.abc import Sequence

from pydantic import PositiveInt

from lima.records import EpochScore, Record


class SelectedCheckpoint(Record):
    arm: str
    epoch: PositiveInt
    checkpoint: str  # its folder
    digest: str  # SHA-256 of its model.safetensors, hexadecimal: other weights make other answers
    why: str


def select_best(scores: Sequence[EpochScore]) -> EpochScore:
    """The highest score; of equal ones the earliest, which has the same quality for less training."""
    return max(scores, key=lambda score: (score.score, -score.epoch))
