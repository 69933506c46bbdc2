"""Decoding steps as CUDA graphs, because starting the kernels of a step one by one takes longer than running them."""

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lima.inference.kv_cache import Slots

Step = Callable[[], Tensor]


def capture(step: Step) -> Step:
    """Capture a step that reads and writes the same tensors in each call; the returned step replays it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


class GraphedStep:
    """A decoding step with a graph for each number of rows and slots, captured at the first use.

    Rows are rounded up to `size`, its half, its quarter and so on, slots to the bucket of the cache.

    Args:
        step: returns the logits of the first rows, which it is called with.
        size: largest number of rows.
    """

    def __init__(
        self, step: Callable[[int], Tensor], slots: Slots, size: int, *, capture: Callable[[Step], Step] = capture
    ) -> None:
        self._step = step
        self._slots = slots
        self._size = size
        self._capture: Callable[[Step], Step] | None = capture
        self._capacity = 0
        self._graphs: dict[tuple[int, int], Step] = {}

    def __call__(self, count: int) -> Tensor:
        """The logits of the first rows."""
        if self._capture is None:
            return self._step(count)
        if self._slots.capacity != self._capacity:  # the graphs read buffers that have been replaced
            self._graphs.clear()
            self._capacity = self._slots.capacity
        rows = self._size
        while rows // 2 >= count:
            rows //= 2
        key = rows, self._slots.width
        if key not in self._graphs:
            logits = self._step(rows)  # also prepares what a capture may not, such as workspaces of libraries
            try:
                self._graphs[key] = self._capture(partial(self._step, rows))
            except RuntimeError as error:
                self._capture = None
                print(f"no CUDA graph of a decoding step: {error}; sampling continues without, slower", file=sys.stderr)
            return logits[:count]
        return self._graphs[key]()[:count]
