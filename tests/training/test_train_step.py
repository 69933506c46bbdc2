"""Dropout masks of the processes in an optimizer step, and its waits for the device."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import combinations
from threading import Event
from types import SimpleNamespace

import pytest
import small
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lima.records import EpochMetrics
from lima.training import packing, tokenization, trainer
from lima.training.trainer import Requests, StepBatch, train_step


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
    train_step(step, loss_model, torch.optim.SGD([weight]), accelerator, small.recipe(seed=seed), Requests())
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


class Waits(TorchDispatchMode):
    """Counts reads of a tensor's value, each of which waits for a GPU; `float()`, `bool()` and `tolist()`."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, _, args=(), kwargs=None):
        self.count += operation.name() in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal")
        return operation(*args, **(kwargs or {}))


class Copies(TorchDispatchMode):
    """Counts tensors that are made from Python's numbers, each of which is copied to a GPU and waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, _, args=(), kwargs=None):
        self.count += operation.name() == "aten::lift_fresh"
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("requests", [Requests(), Requests(stop=True), Requests(save=True)])
def test_a_step_copies_only_its_batches_to_the_device(tmp_path, monkeypatch, requests):
    recipe = small.recipe()
    model, _, _, encoded = small.start(tmp_path, recipe)
    accelerator = small.accelerator(recipe)
    loss_model, optimizer = trainer.prepare(model, recipe, accelerator)
    step = StepBatch([encoded[:2], encoded[2:4]], 0, lr=0.001)
    batches = [packing.pack(part) for part in step.parts]
    monkeypatch.setattr(trainer, "packed_ahead", lambda parts, device: iter(batches))
    with Copies() as copies:
        result = train_step(step, loss_model, optimizer, accelerator, recipe, requests)
    assert copies.count == 0
    assert result.requests == requests


def test_a_step_waits_for_the_device_once(tmp_path, monkeypatch):
    recipe = small.recipe(epochs=1)  # 3 steps of several micro-batches, and an evaluation
    model, _, _, encoded = small.start(tmp_path, recipe)
    tolist = torch.Tensor.tolist
    with Waits() as waits:

        def counted(tensor):
            waits.count += 1
            return tolist(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", counted)
        counts = [
            (waits.count, type(metric))
            for metric in small.fitted(
                model, encoded, encoded[:2], recipe=recipe, accelerator=small.accelerator(recipe)
            )
        ]
    steps = [count for count, kind in counts if kind is not EpochMetrics]
    assert steps == [1, 2, 3]
    assert counts[-1] == (4, EpochMetrics)


def test_the_next_micro_batch_is_prepared_while_one_is_used():
    prepared = [Event() for _ in range(3)]

    def prepare(number):
        prepared[number].set()
        return 10 * number

    with ThreadPoolExecutor(1) as thread:
        ready = packing.ahead(thread, prepare, range(3))
        assert next(ready) == 0
        assert prepared[1].wait(10)  # without a further request
        assert not prepared[2].is_set()
        assert list(ready) == [10, 20]


def test_an_error_while_a_micro_batch_is_prepared_is_raised():
    def prepare(number):
        raise ValueError(f"item {number}")

    with ThreadPoolExecutor(1) as thread, pytest.raises(ValueError, match="item 0"):
        list(packing.ahead(thread, prepare, range(2)))


def test_the_packing_thread_uses_the_gpu_of_the_process(monkeypatch):
    used = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    for device in (torch.device("cuda"), torch.device("cuda", 3)):  # Accelerate's device of one process has no index
        packing.use_device(device)
    assert used == [torch.device("cuda", 3)]
