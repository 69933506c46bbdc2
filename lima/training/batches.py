"""Which examples make a step, and how they lie side by side without padding and without seeing each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lima.training.encode import IGNORED, Encoded


@dataclass(frozen=True)
class Batch:
    """Examples in one row. ids, positions, labels: (1, tokens); positions restart with each example."""

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    examples: tuple[str, ...]

    @property
    def supervised(self) -> int:
        return int((self.labels != IGNORED).sum())


def plan(lengths: Sequence[int], *, batch_size: int, micro_tokens: int, seed: int, epoch: int) -> list[list[list[int]]]:
    """The epoch's steps; a step is micro-batches, a micro-batch the places of its examples in `lengths`.

    A pure function. Every example comes once an epoch, a step has exactly `batch_size` of them (the last one what is
    left), and a micro-batch at most `micro_tokens` tokens unless a single example is longer.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
    steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [split(step, lengths, micro_tokens) for step in steps]


def split(places: Sequence[int], lengths: Sequence[int], micro_tokens: int) -> list[list[int]]:
    """Micro-batches of examples in their order, each as full as `micro_tokens` allow."""
    parts: list[list[int]] = []
    room = 0
    for place in places:
        if not parts or lengths[place] > room:
            parts.append([])
            room = micro_tokens
        parts[-1].append(place)
        room -= lengths[place]
    return parts


def pack(examples: Sequence[Encoded]) -> Batch:
    """One row of tokens. No attention mask goes with it: a mask would let the examples see each other."""
    return Batch(
        ids=torch.tensor([[token for e in examples for token in e.ids]]),
        positions=torch.tensor([[place for e in examples for place in range(len(e.ids))]]),
        labels=torch.tensor([[label for e in examples for label in e.labels]]),
        examples=tuple(e.id for e in examples),
    )
