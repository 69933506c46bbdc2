"""The training loop (§3): AdamW, a rate linear in the step, loss on responses only, a checkpoint an epoch.

Ours, where the paper is silent: fp32 master weights and Adam states, a bound on the gradient's norm, and a step's loss
as the sum over its supervised tokens, on all processes, divided by their number.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator

from lima.config.sections import Train
from lima.errors import LimaError
from lima.records import EpochMetrics, StepMetrics
from lima.training import precision
from lima.training.loss import LossModel
from lima.training.packing import micro_batches_of_rank, pack, plan, split
from lima.training.tokenization import Encoded

SaveCheckpoint = Callable[
    [int, Any], tuple[str, str]
]  # epoch, learner → the checkpoint's folder name, the digest of its weights


class TrainingError(LimaError):
    """Training that cannot go on: a loss that is no number or has exploded, or nothing to learn from."""


class TrainingInterrupted(Exception):
    """Training that was asked to end, and did so after a step whose state is kept."""


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


@dataclass(frozen=True)
class Progress:
    """Every step and every epoch that is done, in order."""

    step_metrics: tuple[StepMetrics, ...] = ()
    epoch_metrics: tuple[EpochMetrics, ...] = ()

    @property
    def steps(self) -> int:
        """Optimizer steps done."""
        return len(self.step_metrics)

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1; one more than there are once all are done."""
        return len(self.epoch_metrics) + 1

    def under_way(self) -> list[StepMetrics]:
        """The steps done of the epoch under way."""
        return [step for step in self.step_metrics if step.epoch == self.epoch]

    def train_loss(self) -> float:
        """Mean over the supervised tokens of the epoch under way, nats."""
        steps = self.under_way()
        return sum(s.loss * s.supervised_tokens for s in steps) / sum(s.supervised_tokens for s in steps)

    def after_step(self, metrics: StepMetrics) -> "Progress":
        return replace(self, step_metrics=(*self.step_metrics, metrics))

    def after_epoch(self, metrics: EpochMetrics) -> "Progress":
        return replace(self, epoch_metrics=(*self.epoch_metrics, metrics))

    def told(self) -> Iterator[StepMetrics | EpochMetrics]:
        """All metrics in the order in which they were measured."""
        for epoch in range(1, self.epoch + 1):
            yield from (step for step in self.step_metrics if step.epoch == epoch)
            yield from (metrics for metrics in self.epoch_metrics if metrics.epoch == epoch)


class CheckpointManager(Protocol):
    """Where training's state is kept between steps, so that it can be continued."""

    def load(self, learner: Any, optimizer: Any) -> Progress: ...

    def save(self, learner: Any, optimizer: Any, progress: Progress) -> None: ...


def fit(
    model: Any,
    train: Sequence[Encoded],
    held_out: Sequence[Encoded],
    *,
    recipe: Train,
    accelerator: Accelerator,
    save: SaveCheckpoint,
    states: CheckpointManager,
    stopping: Callable[[], bool],
) -> Iterator[StepMetrics | EpochMetrics]:
    """Train the fp32 `model` in place; yields each step's metrics, and each epoch's after its checkpoint is saved.

    What `states` knows of an earlier run is yielded again first. Once `stopping()`, the state is saved and Stopped
    raised.
    """
    if not train:
        raise TrainingError("train.jsonl holds no example, so there is nothing to learn from; see arms in params.yaml")
    if not any(example.supervised for example in held_out):
        raise TrainingError(
            f"none of the {len(held_out)} examples of held_out.jsonl has a supervised token within train.max_tokens "
            f"{recipe.max_tokens}, so there is no perplexity; raise train.max_tokens, or see mix.held_out"
        )
    _refuse_silence(train, recipe, accelerator.num_processes)
    learner, optimizer = prepare(model, recipe, accelerator)
    progress = states.load(learner, optimizer)
    yield from progress.told()
    while progress.epoch <= recipe.epochs:
        learner.train()
        steps = _steps(progress.epoch, train, recipe, accelerator.num_processes)
        for step in steps[len(progress.under_way()) :]:
            start = time.perf_counter()
            taken = train_step(step, learner, optimizer, accelerator, recipe, stop=stopping())
            metrics = _measured(step, taken, epoch=progress.epoch, seconds=time.perf_counter() - start)
            progress = progress.after_step(metrics)
            yield metrics
            if taken.stop or progress.steps % recipe.state_steps == 0:
                states.save(learner, optimizer, progress)
            if taken.stop:
                raise TrainingInterrupted(f"stopped at step {progress.steps}")
        mean = evaluate(learner, held_out, accelerator, micro_tokens=recipe.micro_batch_tokens)
        folder, digest = save(progress.epoch, learner)
        loss, perplexity = progress.train_loss(), math.exp(mean)
        epoch = EpochMetrics(
            epoch=progress.epoch, train_loss=loss, held_out_perplexity=perplexity, checkpoint=folder, digest=digest
        )
        progress = progress.after_epoch(epoch)
        states.save(learner, optimizer, progress)
        yield epoch


def _measured(step: StepBatch, taken: StepResult, *, epoch: int, seconds: float) -> StepMetrics:
    return StepMetrics(
        step=step.number + 1,
        epoch=epoch,
        loss=taken.loss,
        lr=step.lr,
        grad_norm=taken.grad_norm,
        tokens=step.tokens,
        supervised_tokens=step.supervised,
        seconds=seconds,
    )


def prepare(model: Any, recipe: Train, accelerator: Accelerator) -> tuple[Any, Any]:
    """The learner and its AdamW, as the launcher's processes share them."""
    precision.refuse_update_underflow(model, recipe.lr)
    learner = LossModel(model)
    optimizer = torch.optim.AdamW(
        [weight for weight in learner.parameters() if weight.requires_grad],
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    prepared: tuple[Any, Any] = accelerator.prepare(learner, optimizer)
    return prepared


def _refuse_silence(train: Sequence[Encoded], recipe: Train, ranks: int) -> None:
    """Raise, before anything is trained, if some step of some epoch had no token to learn from."""
    for epoch in range(1, recipe.epochs + 1):
        for step in _steps(epoch, train, recipe, ranks):
            if not step.supervised:
                raise TrainingError(
                    f"step {step.number + 1}, in epoch {epoch}, would have nothing to learn from: no token of "
                    f"{step.names} is supervised, since the prompts alone are longer than train.max_tokens; raise "
                    "train.max_tokens or train.batch_size, or leave such examples out"
                )


def _steps(epoch: int, train: Sequence[Encoded], recipe: Train, ranks: int) -> list[StepBatch]:
    """The steps of an epoch, from 1, with their learning rates."""
    order = plan(
        [len(example.ids) for example in train],
        batch_size=recipe.batch_size,
        micro_tokens=recipe.micro_batch_tokens,
        ranks=ranks,
        seed=recipe.seed,
        epoch=epoch,
    )
    before, of = (epoch - 1) * len(order), recipe.epochs * len(order)
    return [
        StepBatch(
            [[train[example] for example in part] for part in parts],
            number,
            learning_rate(number, steps=of, lr=recipe.lr, lr_end=recipe.lr_end),
        )
        for number, parts in enumerate(order, start=before)
    ]


def learning_rate(step: int, *, steps: int, lr: float, lr_end: float) -> float:
    """Linear schedule without warm-up (§3): `lr` at step 0, `lr_end` at step `steps` − 1."""
    return lr + (lr_end - lr) * step / max(1, steps - 1)


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
