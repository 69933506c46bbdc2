"""Batch planning and sequence packing: examples in one row without padding or cross-attention."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from lima.training import varlen_attention
from lima.training.tokenization import IGNORED, Encoded

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Batch:
    """Packed examples. ids, positions, labels: (1, tokens); positions restart at 0 with each example."""

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    predicting: torch.Tensor  # (supervised,): positions that predict a supervised token
    targets: torch.Tensor  # (supervised,): the tokens that they predict
    cumulative: torch.Tensor  # int32, (examples + 1,): see varlen_attention.cumulative
    lengths: tuple[int, ...]  # tokens of each example
    examples: tuple[str, ...]  # ids

    @property
    def supervised(self) -> int:
        """Supervised tokens."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device) -> "Batch":
        """Copy the tensors that a forward pass reads to a GPU, from pinned memory and without waiting for the copy.

        Labels stay. On other devices, and if the tensors are there already, the batch is returned unchanged.
        """
        if device.type != "cuda" or self.ids.device.type == "cuda":
            return self
        names = ("ids", "positions", "predicting", "targets", "cumulative")
        copies: dict[str, torch.Tensor] = {
            name: getattr(self, name).pin_memory().to(device, non_blocking=True) for name in names
        }
        return replace(self, **copies)  # type: ignore[arg-type]  # only these fields are tensors to copy


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
    labels = torch.tensor([[label for e in examples for label in e.labels]])
    # Position i predicts token i + 1. An example's first token is a user's and unsupervised, so no position predicts a
    # token of the next example.
    predicting = (labels[0, 1:] != IGNORED).nonzero().squeeze(1)
    lengths = tuple(len(e.ids) for e in examples)
    return Batch(
        ids=torch.tensor([[token for e in examples for token in e.ids]]),
        positions=torch.cat([torch.arange(length) for length in lengths])[None],
        labels=labels,
        predicting=predicting,
        targets=labels[0, predicting + 1],
        cumulative=varlen_attention.cumulative(lengths),
        lengths=lengths,
        examples=tuple(e.id for e in examples),
    )


def packed_ahead(parts: Sequence[Sequence[Encoded]], device: torch.device) -> Iterator[Batch]:
    """Pack micro-batches in their order; for a GPU on a thread, one micro-batch ahead, and copied to it.

    The thread packs while the previous micro-batch runs.
    """
    if device.type != "cuda":
        yield from map(pack, parts)
        return
    with ThreadPoolExecutor(1, initializer=use_device, initargs=(device,)) as thread:
        yield from ahead(thread, lambda part: pack(part).to(device), parts)


def use_device(device: torch.device) -> None:
    """Make a GPU the current one of this thread; without an index, the device is the current one already."""
    if device.index is not None:
        torch.cuda.set_device(device)


def ahead(thread: ThreadPoolExecutor, prepare: Callable[[Item], Prepared], items: Sequence[Item]) -> Iterator[Prepared]:
    """Yield `prepare(item)` of each item, in order; the next item is prepared on the thread meanwhile."""
    pending = thread.submit(prepare, items[0])
    for item in items[1:]:
        ready = pending.result()
        pending = thread.submit(prepare, item)
        yield ready
    yield pending.result()
