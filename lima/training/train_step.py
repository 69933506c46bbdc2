"""One optimizer step over the micro-batches of all processes, and the loss on held-out examples."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator

from lima.config.sections import Train
from lima.errors import LimaError
from lima.training.packing import micro_batches_of_rank, pack, split
from lima.training.tokenization import Encoded


class TrainingError(LimaError):
    """Training that cannot go on: a loss that is no number or has exploded, or nothing to learn from."""


@dataclass(frozen=True)
class StepBatch:
    parts: Sequence[Sequence[Encoded]]  # the micro-batches of all ranks
    number: int  # optimizer steps done before it
    lr: float

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for part in self.parts for example in part)

    @property
    def supervised(self) -> int:
        return sum(example.supervised for part in self.parts for example in part)

    @property
    def names(self) -> str:
        return ", ".join(example.id for part in self.parts for example in part)


class StepResult(NamedTuple):
    loss: float  # nats a supervised token
    grad_norm: float  # before it was bounded
    stop: bool  # some process was asked to


def train_step(
    step: StepBatch, learner: Any, optimizer: Any, accelerator: Accelerator, recipe: Train, *, stop: bool
) -> StepResult:
    """One optimizer step, the same whatever its micro-batches and ranks but for the order of summation."""
    for group in optimizer.param_groups:
        group["lr"] = step.lr
    rank, ranks = accelerator.process_index, accelerator.num_processes
    mine = micro_batches_of_rank(step.parts, rank=rank, ranks=ranks)
    told = torch.tensor([0.0, float(stop)], dtype=torch.float64, device=accelerator.device)
    for place, (part, weight) in enumerate(mine):
        accelerator.sync_gradients = place == len(mine) - 1
        torch.manual_seed(dropout_seed(recipe.seed, step.number, place * ranks + rank))
        with nullcontext() if accelerator.sync_gradients else accelerator.no_sync(learner):
            nats = weight * learner(pack(part))
            # gradients are averaged over the processes, so each gives its sum times their number
            accelerator.backward(nats * (ranks / step.supervised))
        told[0] += nats.detach()
    told = accelerator.reduce(told, "sum")
    loss = float(told[0]) / step.supervised
    norm = float(accelerator.clip_grad_norm_(learner.parameters(), recipe.max_grad_norm))
    _refuse_explosion(loss, norm, step, recipe)
    optimizer.step()
    optimizer.zero_grad()
    return StepResult(loss, norm, bool(told[1] > 0))


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """What dropout is drawn from: a pure function, so that no generator's state has to outlive a kill."""
    return int(np.random.SeedSequence((seed, step, micro_batch)).generate_state(1, np.uint64)[0])


def _refuse_explosion(loss: float, norm: float, step: StepBatch, recipe: Train) -> None:
    where = f"in step {step.number + 1} at a learning rate of {step.lr:g}; lower train.lr, or look at {step.names}"
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} {where}")
    if not math.isfinite(norm):
        raise TrainingError(f"the gradient's norm is {norm} {where}")
    if loss > recipe.max_loss:
        raise TrainingError(f"the loss has exploded: {loss:.3g} nats a token, more than train.max_loss, {where}")


def evaluate(learner: Any, examples: Sequence[Encoded], accelerator: Accelerator, *, micro_tokens: int) -> float:
    """Mean nats a supervised token over all processes, dropout off."""
    tokens = sum(example.supervised for example in examples)
    if not tokens:
        raise TrainingError("held_out.jsonl has no supervised token, so there is no perplexity; see mix.held_out")
    learner.eval()
    rank, ranks = accelerator.process_index, accelerator.num_processes
    lengths = [len(example.ids) for example in examples]
    parts = split(range(len(examples)), lengths, micro_tokens=micro_tokens, ranks=ranks)
    nats = torch.zeros((), device=accelerator.device)
    with torch.no_grad():
        for part, weight in micro_batches_of_rank(parts, rank=rank, ranks=ranks):
            nats += weight * learner(pack([examples[place] for place in part]))
    return float(accelerator.reduce(nats, "sum")) / tokens
