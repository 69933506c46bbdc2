"""Batch planning and sequence packing: examples in one row without padding or cross-attention."""

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
    """Packed examples. ids, positions, labels: (1, tokens); positions restart at 0 with each example."""

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    lengths: tuple[int, ...]  # tokens of each example
    examples: tuple[str, ...]  # ids

    @property
    def supervised(self) -> int:
        """Supervised tokens."""
        return int((self.labels != IGNORED).sum())


def plan(
    lengths: Sequence[int], *, batch_size: int, micro_tokens: int, ranks: int, seed: int, epoch: int
) -> list[list[list[int]]]:
    """Plan the steps of an epoch; a pure function.

    Each example occurs once. Every step has `batch_size` examples; the last one has the remainder. The examples of a
    step do not depend on `micro_tokens` and `ranks`.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples of a step.
        micro_tokens: Tokens of a micro-batch; see `split`.
        ranks: Number of processes.
        epoch: From 1.

    Returns:
        Steps of micro-batches of indices into `lengths`.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
    steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [split(step, lengths, micro_tokens=micro_tokens, ranks=ranks) for step in steps]


def split(indices: Sequence[int], lengths: Sequence[int], *, micro_tokens: int, ranks: int) -> list[list[int]]:
    """Split examples into micro-batches of balanced size (greedy number partitioning, longest first).

    Each has at most `micro_tokens` tokens, unless a single example is longer. With fewer examples than ranks, some are
    empty.

    Args:
        indices: Into `lengths`.

    Returns:
        A multiple of `ranks` micro-batches, in the order rank 0, 1, …, 0, 1, ….
    """
    longest_first = sorted(indices, key=lambda index: -lengths[index])
    bound = max(micro_tokens, lengths[longest_first[0]])
    fewest = -(-sum(lengths[index] for index in indices) // bound)
    count = -(-fewest // ranks) * ranks
    while True:
        parts: list[list[int]] = [[] for _ in range(count)]
        loads = [(0, number) for number in range(count)]
        for index in longest_first:
            load, number = heapq.heappop(loads)
            parts[number].append(index)
            heapq.heappush(loads, (load + lengths[index], number))
        if max(loads)[0] <= bound:
            # micro-batches that run at the same time are closest in size
            return [parts[number] for _, number in sorted(loads, reverse=True)]
        count += ranks


def micro_batches_of_rank(
    parts: Sequence[Sequence[Item]], *, rank: int, ranks: int
) -> list[tuple[Sequence[Item], float]]:
    """Micro-batches of a rank, each with its weight in the loss.

    All ranks must run the same number of passes, or they deadlock. An empty micro-batch is therefore replaced by the
    step's first with weight 0.
    """
    return [(part, 1.0) if part else (parts[0], 0.0) for part in parts[rank::ranks]]


def pack(examples: Sequence[Encoded]) -> Batch:
    """Pack examples into one row.

    There is no attention mask: transformers would use it instead of the positions, and examples would attend to each
    other.
    """
    return Batch(
        ids=torch.tensor([[token for e in examples for token in e.ids]]),
        positions=torch.tensor([[position for e in examples for position in range(len(e.ids))]]),
        labels=torch.tensor([[label for e in examples for label in e.labels]]),
        lengths=tuple(len(e.ids) for e in examples),
        examples=tuple(e.id for e in examples),
    )
