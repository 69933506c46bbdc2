"""Dropout masks of the processes in an optimizer step."""

from contextlib import nullcontext
from itertools import combinations
from types import SimpleNamespace

import small
import torch

from lima.training import tokenization
from lima.training.trainer import StepBatch, train_step


def draws(*, number, rank, ranks, seed=17):
    """Random numbers of a process in a step: one row for each of two micro-batches."""
    drawn = []
    weight = torch.nn.Parameter(torch.ones(()))

    def loss_model(batch):
        drawn.append(tuple(torch.rand(8).tolist()))
        return weight * 1.0

    loss_model.parameters = lambda: [weight]
    accelerator = SimpleNamespace(
        process_index=rank,
        num_processes=ranks,
        device=torch.device("cpu"),
        sync_gradients=True,
        no_sync=lambda _: nullcontext(),
        backward=lambda loss: loss.backward(),
        reduce=lambda total, _: total,
        clip_grad_norm_=torch.nn.utils.clip_grad_norm_,
    )
    example = tokenization.Encoded("a", (1, 2), (1, 2), 0)
    step = StepBatch([[example]] * 2 * ranks, number, lr=0.1)
    train_step(step, loss_model, torch.optim.SGD([weight]), accelerator, small.recipe(seed=seed), stop=False)
    assert len(drawn) == 2
    return drawn


def test_steps_ranks_and_micro_batches_have_different_dropout_masks():
    drawn = {(number, rank): draws(number=number, rank=rank, ranks=2) for number in (0, 1, 2) for rank in (0, 1)}
    rows = [(process, part, row) for process, both in drawn.items() for part, row in enumerate(both)]
    assert len(rows) == 3 * 2 * 2
    for (process, part, row), (other_process, other_part, other_row) in combinations(rows, 2):
        assert row != other_row, (process, part, other_process, other_part)


def test_dropout_masks_depend_on_the_seed():
    assert draws(number=3, rank=1, ranks=2) == draws(number=3, rank=1, ranks=2)
    assert draws(number=3, rank=1, ranks=2, seed=17) != draws(number=3, rank=1, ranks=2, seed=18)
