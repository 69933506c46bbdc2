from contextlib import contextmanager

import pytest
import torch

from lima.inference import cuda_graphs
from lima.inference.cuda_graphs import GraphedStep
from lima.inference.kv_cache import Slots


class Graph:
    """Runs the captured step in each replay; graphs without a pool open a new one."""

    def __init__(self, log, step, pool):
        self.log, self.step = log, step
        self._pool = pool or f"pool {len(log)}"
        log.append((step.args[1], self._pool))

    def replay(self):
        self.step()

    def pool(self):
        return self._pool


def test_a_graph_is_captured_for_each_number_of_rows_and_slots_and_again_for_new_buffers():
    captured, slots = [], Slots(torch.zeros(1), bucket=8, capacity=16)

    def capture(step, pool):
        captured.append((step.args[1], slots.width, slots.capacity))
        return Graph([], step, pool)

    step = GraphedStep(slots, 12, capture=capture)
    for count, end, capacity in ((12, 0, 16), (7, 7, 16), (6, 7, 16), (2, 8, 16), (1, 8, 16), (2, 9, 32), (1, 8, 32)):
        slots.end, slots.capacity = end, capacity
        assert len(step(lambda rows: torch.zeros(rows, 1), count)) == count
    # 12 rows, then 6 (half), 3, 1; width 8, 16; a growth makes all graphs invalid
    assert captured == [(12, 8, 16), (6, 8, 16), (3, 16, 16), (1, 16, 16), (3, 16, 32), (1, 16, 32)]


def test_graphs_share_a_pool_and_a_buffer_of_logits():
    log, slots, calls = [], Slots(torch.zeros(1), bucket=8, capacity=16), []

    def logits(rows):
        calls.append(rows)
        return torch.full((rows, 2), float(len(calls)))

    step = GraphedStep(slots, 4, capture=lambda step, pool: Graph(log, step, pool))
    first = [step(logits, count).tolist() for count in (4, 2)]
    assert first == [[[1, 1]] * 4, [[2, 2]] * 2]  # of the calls before each capture
    replayed = [step(logits, count) for count in (4, 2, 3)]
    assert {result.data_ptr() for result in replayed} == {replayed[0].data_ptr()}
    assert replayed[2].tolist() == [[5, 5]] * 3  # four rows are computed
    assert calls == [4, 2, 4, 2, 4]
    slots.capacity = 32  # the pool of graphs that no longer exist is not used again
    step(logits, 4)
    step(logits, 1)
    assert log == [(4, "pool 0"), (2, "pool 0"), (4, "pool 2"), (1, "pool 2")]


def test_a_failed_capture_frees_the_graphs_before():
    slots, graphs = Slots(torch.zeros(1), bucket=8, capacity=16), []

    def capture(step, pool):
        if graphs:
            raise torch.OutOfMemoryError("CUDA out of memory")
        graphs.append(Graph([], step, pool))
        return graphs[-1]

    step = GraphedStep(slots, 4, capture=capture)
    for count in (4, 2, 2):
        assert step(lambda rows: torch.ones(rows, 1), count).tolist() == [[1]] * count
    assert not step._graphs


@pytest.mark.parametrize("fails", [False, True])
def test_a_capture_uses_the_pool_and_leaves_the_current_stream(monkeypatch, fails):
    log, stream = [], ["default"]

    @contextmanager
    def graph(cuda_graph, *, pool):  # as torch.cuda.graph, which keeps its stream if the capture fails
        log.append(pool)
        stream[0] = "capturing"
        yield
        stream[0] = "default"

    def step():
        if fails:
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: "graph")
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream[0])
    monkeypatch.setattr(torch.cuda, "set_stream", lambda new: stream.__setitem__(0, new))
    if fails:
        with pytest.raises(RuntimeError, match="not permitted"):
            cuda_graphs.capture(step, "pool")
    else:
        assert cuda_graphs.capture(step, "pool") == "graph"
    assert (log, stream) == (["pool"], ["default"])
