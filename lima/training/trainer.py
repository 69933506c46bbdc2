"""The training loop (§3): AdamW, a rate linear in the step, loss on responses only, a checkpoint an epoch.

Ours, where the paper is silent: fp32 master weights and Adam states, a bound on the gradient's norm, and a step's loss
as the sum over its supervised tokens, on all processes, divided by their number.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from accelerate import Accelerator

from lima.config.sections import Train
from lima.records import EpochMetrics, StepMetrics
from lima.training import precision, schedule
from lima.training.loss_model import LossModel
from lima.training.packing import plan
from lima.training.progress import Progress
from lima.training.tokenization import Encoded
from lima.training.train_step import StepBatch, StepResult, TrainingError, evaluate, train_step

SaveCheckpoint = Callable[
    [int, Any], tuple[str, str]
]  # epoch, learner → the checkpoint's folder name, the digest of its weights


class TrainingInterrupted(Exception):
    """Training that was asked to end, and did so after a step whose state is kept."""


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
            schedule.rate(number, steps=of, lr=recipe.lr, lr_end=recipe.lr_end),
        )
        for number, parts in enumerate(order, start=before)
    ]
