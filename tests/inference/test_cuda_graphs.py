import torch

from lima.inference.cuda_graphs import GraphedStep
from lima.inference.kv_cache import Slots


def test_a_graph_is_captured_for_each_number_of_rows_and_slots_and_again_for_new_buffers():
    captured, slots = [], Slots(torch.zeros(1), bucket=8, capacity=16)

    def capture(step):
        captured.append((*step.args, slots.width, slots.capacity))
        return step

    step = GraphedStep(lambda rows: torch.zeros(rows, 1), slots, 12, capture=capture)
    for count, end, capacity in ((12, 0, 16), (7, 7, 16), (6, 7, 16), (2, 8, 16), (1, 8, 16), (2, 9, 32), (1, 8, 32)):
        slots.end, slots.capacity = end, capacity
        assert len(step(count)) == count
    # 12 rows, then 6 (half), 3, 1; width 8, 16; a growth makes all graphs invalid
    assert captured == [(12, 8, 16), (6, 8, 16), (3, 16, 16), (1, 16, 16), (3, 16, 32), (1, 16, 32)]
