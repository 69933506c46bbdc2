"""What each process draws dropout from in an optimizer step."""

from contextlib import nullcontext
from itertools import combinations
from types import SimpleNamespace

import small
import torch

from lima.training import tokenization
from lima.training.trainer import StepBatch, train_step


def draws(*, number, rank, ranks, seed=17):
    """The random numbers that a process draws in a step: a row for each of its two micro-batches."""
    drawn = []
    weight = torch.nn.Parameter(torch.ones(()))

    def learner(batch):
        drawn.append(tuple(torch.rand(8).tolist()))
        return weight * 1.0

    learner.parameters = lambda: [weight]
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
    train_step(step, learner, torch.optim.SGD([weight]), accelerator, small.recipe(seed=seed), stop=False)
    assert len(drawn) == 2
    return drawn


def test_two_steps_two_ranks_and_two_micro_batches_draw_different_dropout_masks():
    drawn = {(number, rank): draws(number=number, rank=rank, ranks=2) for number in (0, 1, 2) for rank in (0, 1)}
    rows = [(place, part, row) for place, both in drawn.items() for part, row in enumerate(both)]
    assert len(rows) == 3 * 2 * 2
    for (place, part, row), (other_place, other_part, other_row) in combinations(rows, 2):
        assert row != other_row, (place, part, other_place, other_part)


def test_another_seed_draws_different_dropout_masks_and_the_same_one_the_same():
    assert draws(number=3, rank=1, ranks=2) == draws(number=3, rank=1, ranks=2)
    assert draws(number=3, rank=1, ranks=2, seed=17) != draws(number=3, rank=1, ranks=2, seed=18)
