"""Which examples make a step, and how they lie side by side without padding and without seeing each other."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from lima.training.tokenization import IGNORED, Encoded

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """Examples in one row. ids, positions, labels: (1, tokens); positions restart with each example."""

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    lengths: tuple[int, ...]  # tokens of each example
    examples: tuple[str, ...]

    @property
    def supervised(self) -> int:
        return int((self.labels != IGNORED).sum())


def plan(
    lengths: Sequence[int], *, batch_size: int, micro_tokens: int, ranks: int, seed: int, epoch: int
) -> list[list[list[int]]]:
    """The epoch's steps; a step is micro-batches, a micro-batch the places of its examples in `lengths`.

    A pure function. Every example comes once an epoch, and a step has exactly `batch_size` of them (the last one what
    is left), whatever the ranks and the micro-batches; see `split` for those.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
    steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [split(step, lengths, micro_tokens=micro_tokens, ranks=ranks) for step in steps]


def split(places: Sequence[int], lengths: Sequence[int], *, micro_tokens: int, ranks: int) -> list[list[int]]:
    """Micro-batches, as alike in tokens as can be, for rank 0, 1, …, 0, 1, …: each rank gets as many.

    At most `micro_tokens` tokens each, unless a single example is longer. Where there are fewer examples than ranks,
    some are empty. Longest first, each example goes to the micro-batch that has the fewest tokens.
    """
    longest_first = sorted(places, key=lambda place: -lengths[place])
    bound = max(micro_tokens, lengths[longest_first[0]])
    wanted = -(-sum(lengths[place] for place in places) // bound)
    count = -(-wanted // ranks) * ranks
    while True:
        parts: list[list[int]] = [[] for _ in range(count)]
        loads = [(0, number) for number in range(count)]
        for place in longest_first:
            load, number = heapq.heappop(loads)
            parts[number].append(place)
            heapq.heappush(loads, (load + lengths[place], number))
        if max(loads)[0] <= bound:
            # those that run at the same time are the most alike
            return [parts[number] for _, number in sorted(loads, reverse=True)]
        count += ranks


def micro_batches_of_rank(
    parts: Sequence[Sequence[Item]], *, rank: int, ranks: int
) -> list[tuple[Sequence[Item], float]]:
    """A rank's micro-batches with their weight; in place of an empty one it repeats the step's first with weight 0.

    All ranks must run as many passes, or those that have work wait for those that have none.
    """
    return [(part, 1.0) if part else (parts[0], 0.0) for part in parts[rank::ranks]]


def pack(examples: Sequence[Encoded]) -> Batch:
    """One row of tokens. No attention mask goes with it: a mask would let the examples see each other."""
    return Batch(
        ids=torch.tensor([[token for e in examples for token in e.ids]]),
        positions=torch.tensor([[place for e in examples for place in range(len(e.ids))]]),
        labels=torch.tensor([[label for e in examples for label in e.labels]]),
        lengths=tuple(len(e.ids) for e in examples),
        examples=tuple(e.id for e in examples),
    )
