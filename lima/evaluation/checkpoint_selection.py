"""Checkpoint selection: one epoch of an arm, chosen by the quality of its dev responses (LIMA §3)."""

from collections.abc import Sequence

from pydantic import PositiveInt

from lima.records import EpochScore, Record


class SelectedCheckpoint(Record):
    arm: str
    epoch: PositiveInt
    checkpoint: str  # folder
    digest: str  # SHA-256 of model.safetensors, hexadecimal, so that changed weights change this record
    why: str  # the reason, in words


def select_best(scores: Sequence[EpochScore]) -> EpochScore:
    """Return the epoch with the highest score; on a tie the earliest, which needs less training."""
    return max(scores, key=lambda score: (score.score, -score.epoch))
