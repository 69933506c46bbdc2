"""Decoding steps as CUDA graphs, because starting the kernels of a step one by one takes longer than running them."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from lima.inference.kv_cache import Slots

Pool = Any  # identifies a memory pool of CUDA graphs; not typed by PyTorch


class Graph(Protocol):
    """The part of torch.cuda.CUDAGraph that is used."""

    def replay(self) -> None: ...
    def pool(self) -> Pool: ...


def capture(step: Callable[[], object], pool: Pool | None) -> Graph:
    """Capture a step that reads and writes the same tensors in each call.

    Args:
        pool: of the graphs that the step's temporary tensors share their memory with; None: a new one.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, pool=pool):
            step()
    finally:
        torch.cuda.set_stream(stream)  # a capture that fails leaves its own stream as the current one
    return graph


class GraphedStep:
    """A decoding step with a graph for each number of rows and slots, captured at the first use.

    Rows are rounded up to `size`, its half, its quarter and so on, slots to the bucket of the cache. The graphs run one
    after the other and write their logits to one buffer, so that they share the memory of all other tensors.

    Args:
        size: largest number of rows.
    """

    def __init__(
        self, slots: Slots, size: int, *, capture: Callable[[Callable[[], object], Pool | None], Graph] = capture
    ) -> None:
        self._slots = slots
        self._size = size
        self._capture: Callable[[Callable[[], object], Pool | None], Graph] | None = capture
        self._capacity = 0
        self._logits: Tensor | None = None  # (size, vocabulary), of the last step
        self._graphs: dict[tuple[int, int], Graph] = {}

    def __call__(self, step: Callable[[int], Tensor], count: int) -> Tensor:
        """The logits of the first rows, (rows, vocabulary), valid until the next call.

        Args:
            step: returns the logits of the first rows, which it is called with; the same in each call. It is not kept,
                since it holds the cache, whose memory is to be free once the batch is finished.
        """
        if self._capture is None:
            return step(count)
        if self._slots.capacity != self._capacity:  # the graphs read buffers that have been replaced
            self._graphs.clear()
            self._capacity = self._slots.capacity
        rows = self._size
        while rows // 2 >= count:
            rows //= 2
        key = rows, self._slots.width
        if key in self._graphs:
            assert self._logits is not None  # written by all graphs
            self._graphs[key].replay()
            return self._logits[:count]
        logits = step(rows)  # also prepares what a capture may not, such as workspaces of libraries
        if self._logits is None:
            self._logits = logits.new_empty(self._size, logits.shape[-1])
        # the pool of a graph that exists, since a pool without graphs cannot be used again
        pool = next((graph.pool() for graph in self._graphs.values()), None)
        try:
            self._graphs[key] = self._capture(partial(_write, step, rows, self._logits), pool)
        except RuntimeError as error:
            self._capture = None
            self._graphs.clear()
            print(f"no CUDA graph of a decoding step: {error}; sampling continues without, slower", file=sys.stderr)
        return logits[:count]


def _write(step: Callable[[int], Tensor], rows: int, logits: Tensor) -> None:
    logits[:rows] = step(rows)
