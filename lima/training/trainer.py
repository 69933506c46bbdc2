"""Training loop (§3): AdamW, linear learning rate, loss on responses only, one checkpoint per epoch.

Not specified in the paper: fp32 master weights and Adam states, and gradient clipping.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from accelerate import Accelerator

from lima.config.sections import Train
from lima.errors import LimaError, Stopped
from lima.records import EpochMetrics, StepMetrics
from lima.training import attention, determinism, fused_layers, precision
from lima.training.loss import LossModel, backward_factor, mean_loss
from lima.training.packing import micro_batches_of_rank, packed_ahead, plan, split
from lima.training.protocols import CausalLM
from lima.training.tokenization import Encoded

# (epoch, loss model) → name of the checkpoint's folder, digest of its weights
SaveCheckpoint = Callable[[int, torch.nn.Module], tuple[str, str]]


class TrainingError(LimaError):
    """Raised when training cannot continue: the loss is not finite or too large, or no token is supervised."""


class TrainingInterrupted(Stopped):
    """Raised after a requested stop, once the training state is saved."""


@dataclass(frozen=True)
class StepBatch:
    """Examples and learning rate of one optimizer step."""

    parts: Sequence[Sequence[Encoded]]  # micro-batches of all ranks
    number: int  # optimizer steps before this one
    lr: float

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for part in self.parts for example in part)

    @property
    def supervised(self) -> int:
        """Supervised tokens."""
        return sum(example.supervised for part in self.parts for example in part)

    @property
    def names(self) -> str:
        """Ids of the examples, for messages."""
        return ", ".join(example.id for part in self.parts for example in part)


class Requests(NamedTuple):
    """What is to happen after a step; the processes agree on it during the step."""

    stop: bool = False  # save a state and stop
    save: bool = False  # save a state


class StepResult(NamedTuple):
    loss: float  # mean over supervised tokens
    grad_norm: float  # before clipping
    requests: Requests  # of any process


@dataclass(frozen=True)
class Progress:
    """Metrics of all finished steps and epochs, in order."""

    step_metrics: tuple[StepMetrics, ...] = ()
    epoch_metrics: tuple[EpochMetrics, ...] = ()

    @property
    def steps(self) -> int:
        """Number of finished optimizer steps."""
        return len(self.step_metrics)

    @property
    def epoch(self) -> int:
        """Current epoch, from 1; one more than the last epoch once all are finished."""
        return len(self.epoch_metrics) + 1

    def epoch_steps(self) -> list[StepMetrics]:
        """Finished steps of the current epoch."""
        return [step for step in self.step_metrics if step.epoch == self.epoch]

    def train_loss(self) -> float:
        """Mean loss over the supervised tokens of the current epoch."""
        steps = self.epoch_steps()
        return sum(s.loss * s.supervised_tokens for s in steps) / sum(s.supervised_tokens for s in steps)

    def after_step(self, metrics: StepMetrics) -> "Progress":
        return replace(self, step_metrics=(*self.step_metrics, metrics))

    def after_epoch(self, metrics: EpochMetrics) -> "Progress":
        return replace(self, epoch_metrics=(*self.epoch_metrics, metrics))

    def metrics(self) -> Iterator[StepMetrics | EpochMetrics]:
        """All metrics in the order in which they were measured."""
        for epoch in range(1, self.epoch + 1):
            yield from (step for step in self.step_metrics if step.epoch == epoch)
            yield from (metrics for metrics in self.epoch_metrics if metrics.epoch == epoch)


class CheckpointManager(Protocol):
    """Saves and restores the training state: weights, optimizer state and progress."""

    def load(self, loss_model: torch.nn.Module, optimizer: torch.optim.Optimizer, /) -> Progress: ...

    def save(self, loss_model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, /) -> None:
        """Save a state; it may be written later."""

    def check(self) -> None:
        """Raise the error of a state that was to be written later."""

    def wait(self) -> None:
        """Return once the states of this process are written."""

    def finish(self) -> None:
        """Return once all states are written; every process calls it."""


def fit(
    model: CausalLM,
    train: Sequence[Encoded],
    held_out: Sequence[Encoded],
    *,
    recipe: Train,
    accelerator: Accelerator,
    save: SaveCheckpoint,
    states: CheckpointManager,
    should_stop: Callable[[], bool],
) -> Iterator[StepMetrics | EpochMetrics]:
    """Train `model` (fp32) in place; yield the metrics of each step, and of each epoch after its checkpoint.

    Replays the metrics of a resumed run first. If `should_stop()` returns True on any rank, saves the state after the
    current step and raises TrainingInterrupted. An error of writing a state is raised before the next step.

    Raises:
        TrainingError: No example has supervised tokens, a step has none, or a loss or gradient is not finite.
    """
    if not train:
        raise TrainingError("no examples in train.jsonl; add examples to the arm in params.yaml (arms)")
    if not any(example.supervised for example in held_out):
        raise TrainingError(
            f"no perplexity: none of the {len(held_out)} examples of held_out.jsonl has a supervised token within "
            f"train.max_tokens {recipe.max_tokens}; raise train.max_tokens or change mix.held_out"
        )
    _refuse_unsupervised_steps(train, recipe, accelerator.num_processes)
    loss_model, optimizer = prepare(model, recipe, accelerator)
    try:
        yield from _epochs(loss_model, optimizer, train, held_out, recipe, accelerator, save, states, should_stop)
    finally:
        states.wait()


def _epochs(
    loss_model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Sequence[Encoded],
    held_out: Sequence[Encoded],
    recipe: Train,
    accelerator: Accelerator,
    save: SaveCheckpoint,
    states: CheckpointManager,
    should_stop: Callable[[], bool],
) -> Iterator[StepMetrics | EpochMetrics]:
    """Load the state, if there is one, and train to the end; see `fit`."""
    progress = states.load(loss_model, optimizer)
    yield from progress.metrics()
    saved = time.monotonic()
    while progress.epoch <= recipe.epochs:
        loss_model.train()
        steps = _steps(progress.epoch, train, recipe, accelerator.num_processes)
        for step in steps[len(progress.epoch_steps()) :]:
            states.check()
            requests = Requests(stop=should_stop(), save=time.monotonic() - saved >= 60 * recipe.state_minutes)
            start = time.perf_counter()
            result = train_step(step, loss_model, optimizer, accelerator, recipe, requests)
            metrics = _step_metrics(step, result, epoch=progress.epoch, seconds=time.perf_counter() - start)
            progress = progress.after_step(metrics)
            yield metrics
            if result.requests.stop or result.requests.save:
                states.save(loss_model, optimizer, progress)
                saved = time.monotonic()
            if result.requests.stop:
                states.finish()
                raise TrainingInterrupted(f"stopped at step {progress.steps}")
        held_out_loss = evaluate(loss_model, held_out, accelerator, micro_tokens=recipe.micro_tokens)
        checkpoint, digest = save(progress.epoch, loss_model)
        epoch_metrics = EpochMetrics(
            epoch=progress.epoch,
            train_loss=progress.train_loss(),
            held_out_perplexity=math.exp(held_out_loss),
            checkpoint=checkpoint,
            digest=digest,
        )
        progress = progress.after_epoch(epoch_metrics)
        states.save(loss_model, optimizer, progress)
        saved = time.monotonic()
        yield epoch_metrics
    states.finish()


def _step_metrics(step: StepBatch, result: StepResult, *, epoch: int, seconds: float) -> StepMetrics:
    return StepMetrics(
        step=step.number + 1,
        epoch=epoch,
        loss=result.loss,
        lr=step.lr,
        grad_norm=result.grad_norm,
        tokens=step.tokens,
        supervised_tokens=step.supervised,
        seconds=seconds,
    )


def prepare(model: CausalLM, recipe: Train, accelerator: Accelerator) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Wrap the model with its loss, create AdamW, and shard both over the processes.

    Raises:
        UpdateUnderflow: A trained weight is not fp32.
    """
    precision.refuse_update_underflow(model, recipe.lr)
    if recipe.fused_layers:
        _fuse_layers(model, accelerator)
    kernel = attention.select_kernel(
        model, accelerator.device, bf16=recipe.precision == "bf16", log=accelerator.is_main_process
    )
    loss_model = LossModel(model, kernel)
    optimizer = torch.optim.AdamW(
        [weight for weight in loss_model.parameters() if weight.requires_grad],
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    prepared: tuple[torch.nn.Module, torch.optim.Optimizer] = accelerator.prepare(loss_model, optimizer)
    return prepared


def _fuse_layers(model: CausalLM, accelerator: Accelerator) -> None:
    """Fuse layers on CUDA; the main process logs which."""
    cuda = accelerator.device.type == "cuda"
    fused = fused_layers.fuse(model, fused_layers.installed(), device=accelerator.device) if cuda else None
    if accelerator.is_main_process:
        print(f"fused layers: {fused or 'none, since they need CUDA'}", file=sys.stderr)


def _refuse_unsupervised_steps(train: Sequence[Encoded], recipe: Train, ranks: int) -> None:
    """Raise if a step of any epoch has no supervised token."""
    for epoch in range(1, recipe.epochs + 1):
        for step in _steps(epoch, train, recipe, ranks):
            if not step.supervised:
                raise TrainingError(
                    f"step {step.number + 1} of epoch {epoch} has no supervised token: the prompts of {step.names} "
                    "exceed train.max_tokens; raise train.max_tokens or train.batch_size, or drop these examples"
                )


def _steps(epoch: int, train: Sequence[Encoded], recipe: Train, ranks: int) -> list[StepBatch]:
    """Steps of an epoch (from 1), with their learning rates."""
    epoch_plan = plan(
        [len(example.ids) for example in train],
        batch_size=recipe.batch_size,
        micro_tokens=recipe.micro_tokens,
        ranks=ranks,
        seed=recipe.seed,
        epoch=epoch,
    )
    steps_before, steps = (epoch - 1) * len(epoch_plan), recipe.epochs * len(epoch_plan)
    return [
        StepBatch(
            [[train[example] for example in part] for part in parts],
            number,
            learning_rate(number, steps=steps, lr=recipe.lr, lr_end=recipe.lr_end),
        )
        for number, parts in enumerate(epoch_plan, start=steps_before)
    ]


def learning_rate(step: int, *, steps: int, lr: float, lr_end: float) -> float:
    """Linear schedule without warm-up (§3): `lr` at step 0, `lr_end` at step `steps` − 1."""
    return lr + (lr_end - lr) * step / max(1, steps - 1)


@determinism.report_unsupported()
def train_step(
    step: StepBatch,
    loss_model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    recipe: Train,
    requests: Requests,
) -> StepResult:
    """One optimizer step over the micro-batches of all processes.

    Its result does not depend on the number of micro-batches and ranks, up to the order of summation and to which
    elements dropout drops.

    Raises:
        TrainingError: The loss or the gradient's norm is not finite, or the loss exceeds train.max_loss.
        NotDeterministic: With train.deterministic, an operation has no deterministic kernel.
    """
    for group in optimizer.param_groups:
        group["lr"] = step.lr
    rank, ranks = accelerator.process_index, accelerator.num_processes
    micro_batches = micro_batches_of_rank(step.parts, rank=rank, ranks=ranks)
    # (summed loss, number of requests to stop and to save); filled on the device, since a copy to it would wait
    totals = torch.zeros(1 + len(requests), dtype=torch.float64, device=accelerator.device)
    for place, requested in enumerate(requests, start=1):
        totals[place].fill_(float(requested))
    batches = packed_ahead([part for part, _ in micro_batches], accelerator.device)
    for index, (batch, (_, weight)) in enumerate(zip(batches, micro_batches, strict=True)):
        accelerator.sync_gradients = index == len(micro_batches) - 1
        torch.manual_seed(dropout_seed(recipe.seed, step.number, index * ranks + rank))
        with nullcontext() if accelerator.sync_gradients else accelerator.no_sync(loss_model):
            loss_sum = weight * loss_model(batch)
            accelerator.backward(loss_sum * backward_factor(step.supervised, ranks=ranks))
        totals[0] += loss_sum.detach()
    totals = accelerator.reduce(totals, "sum")
    norm = torch.as_tensor(accelerator.clip_grad_norm_(loss_model.parameters(), recipe.max_grad_norm))
    # the only wait for the GPU in a step: all its figures are copied at once
    summed, stops, saves, grad_norm = torch.cat((totals, norm.to(totals)[None])).tolist()
    loss = mean_loss(summed, step.supervised)
    _refuse_divergence(loss, grad_norm, step, recipe)
    optimizer.step()
    optimizer.zero_grad()
    return StepResult(loss, grad_norm, Requests(stop=stops > 0, save=saves > 0))


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """Seed of the dropout masks: a pure function of its arguments, so that a resumed run draws the same masks."""
    return int(np.random.SeedSequence((seed, step, micro_batch)).generate_state(1, np.uint64)[0])


def _refuse_divergence(loss: float, grad_norm: float, step: StepBatch, recipe: Train) -> None:
    location = f"in step {step.number + 1} at learning rate {step.lr:g}; lower train.lr or inspect {step.names}"
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} {location}")
    if not math.isfinite(grad_norm):
        raise TrainingError(f"the gradient norm is {grad_norm} {location}")
    if loss > recipe.max_loss:
        raise TrainingError(f"the loss per token, {loss:.3g}, exceeds train.max_loss {location}")


def evaluate(
    loss_model: torch.nn.Module, examples: Sequence[Encoded], accelerator: Accelerator, *, micro_tokens: int
) -> float:
    """Mean loss over the supervised tokens of `examples`, on all processes, without dropout.

    Raises:
        TrainingError: No token is supervised.
    """
    tokens = sum(example.supervised for example in examples)
    if not tokens:
        raise TrainingError("no perplexity: held_out.jsonl has no supervised token; change mix.held_out")
    loss_model.eval()
    rank, ranks = accelerator.process_index, accelerator.num_processes
    lengths = [len(example.ids) for example in examples]
    parts = split(range(len(examples)), lengths, micro_tokens=micro_tokens, ranks=ranks)
    loss_sum = torch.zeros((), device=accelerator.device)
    with torch.no_grad():
        own = micro_batches_of_rank(parts, rank=rank, ranks=ranks)
        batches = packed_ahead([[examples[index] for index in part] for part, _ in own], accelerator.device)
        for batch, (_, weight) in zip(batches, own, strict=True):
            loss_sum += weight * loss_model(batch)
    return mean_loss(float(accelerator.reduce(loss_sum, "sum")), tokens)
