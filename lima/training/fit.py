"""The training loop (§3): AdamW, a rate linear in the step, loss on responses only, a checkpoint an epoch.

Ours, where the paper is silent: fp32 master weights and Adam states under bf16 computation, a bound on the gradient's
norm, and a step's loss as the sum over its supervised tokens, on all processes, divided by their number.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy

from lima.errors import LimaError
from lima.params import Train
from lima.records import EpochMetrics, StepMetrics
from lima.training import schedule
from lima.training.batches import Batch, pack, plan, split
from lima.training.encode import IGNORED, Encoded

Save = Callable[[int, Any], tuple[str, str]]  # epoch, model → the checkpoint's folder name, the digest of its weights


class TrainingError(LimaError):
    """Training that cannot go on: a loss that is no number, or nothing to learn from."""


def fit(
    model: Any,
    train: Sequence[Encoded],
    held_out: Sequence[Encoded],
    *,
    recipe: Train,
    accelerator: Accelerator,
    save: Save,
) -> Iterator[StepMetrics | EpochMetrics]:
    """Train the fp32 `model` in place; yields each step's metrics, and each epoch's after its checkpoint is saved."""
    if not train:
        raise TrainingError("train.jsonl holds no example, so there is nothing to learn from; see arms in params.yaml")
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    torch.manual_seed(recipe.seed + accelerator.process_index)  # of dropout
    steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    done = 0
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        nats, tokens = 0.0, 0
        for packed in _steps_of(epoch, train, recipe):
            start = time.perf_counter()
            lr = schedule.rate(done, steps=steps, lr=recipe.lr, lr_end=recipe.lr_end)
            loss, norm = _step(model, optimizer, packed, lr, accelerator, recipe.max_grad_norm)
            done += 1
            supervised = sum(batch.supervised for batch in packed)
            nats, tokens = nats + loss * supervised, tokens + supervised
            yield StepMetrics(
                step=done,
                epoch=epoch,
                loss=loss,
                lr=lr,
                grad_norm=norm,
                tokens=sum(batch.ids.numel() for batch in packed),
                supervised_tokens=supervised,
                seconds=time.perf_counter() - start,
            )
        mean = evaluate(model, held_out, accelerator.device, micro_tokens=recipe.micro_batch_tokens)
        folder, digest = save(epoch, model)
        yield EpochMetrics(
            epoch=epoch,
            train_loss=nats / tokens,
            held_out_perplexity=math.exp(mean),
            checkpoint=folder,
            digest=digest,
        )


def _steps_of(epoch: int, train: Sequence[Encoded], recipe: Train) -> Iterator[list[Batch]]:
    order = plan(
        [len(example.ids) for example in train],
        batch_size=recipe.batch_size,
        micro_tokens=recipe.micro_batch_tokens,
        seed=recipe.seed,
        epoch=epoch,
    )
    for step in order:
        yield [pack([train[place] for place in part]) for part in step]


def _step(
    model: Any, optimizer: Any, packed: list[Batch], lr: float, accelerator: Accelerator, max_norm: float
) -> tuple[float, float]:
    """One optimizer step; returns nats a supervised token, and the gradient's norm before it was bounded."""
    supervised = sum(batch.supervised for batch in packed)
    names = ", ".join(name for batch in packed for name in batch.examples)
    if not supervised:
        raise TrainingError(f"no token of {names} is supervised: their prompts alone are longer than train.max_tokens")
    for group in optimizer.param_groups:
        group["lr"] = lr
    # all processes must run as many passes: one without a micro-batch of its own repeats the last with weight 0
    rank, ranks = accelerator.process_index, accelerator.num_processes
    total = torch.zeros((), device=accelerator.device)
    for first in range(0, len(packed), ranks):
        weight = float(first + rank < len(packed))
        accelerator.sync_gradients = first + ranks >= len(packed)
        with nullcontext() if accelerator.sync_gradients else accelerator.no_sync(model):
            loss = weight * summed_loss(model, packed[min(first + rank, len(packed) - 1)], accelerator.device)
            # gradients are averaged over the processes, so each gives its sum times their number
            accelerator.backward(loss * ranks / supervised)
        total += loss.detach()
    mean = float(accelerator.reduce(total, "sum")) / supervised
    if not math.isfinite(mean):
        raise TrainingError(f"the loss is {mean} at a learning rate of {lr:g}; lower train.lr, or look at {names}")
    norm = float(accelerator.clip_grad_norm_(model.parameters(), max_norm))
    optimizer.step()
    optimizer.zero_grad()
    return mean, norm


def summed_loss(model: Any, batch: Batch, device: torch.device) -> torch.Tensor:
    """Nats over the batch's supervised tokens; logits are computed only at the places that predict one."""
    labels = batch.labels[0]
    # a token is predicted one place before it; an example's first token is the user's, so none predicts a neighbour's
    places = (labels[1:] != IGNORED).nonzero().squeeze(1)
    logits = model(
        input_ids=batch.ids.to(device),
        position_ids=batch.positions.to(device),
        logits_to_keep=places.to(device),
        use_cache=False,
    ).logits  # (1, supervised tokens, vocabulary)
    return cross_entropy(logits[0].float(), labels[places + 1].to(device), reduction="sum")


def evaluate(model: Any, examples: Sequence[Encoded], device: torch.device, *, micro_tokens: int) -> float:
    """Mean nats a supervised token, dropout off."""
    model.eval()
    nats, tokens = 0.0, 0
    with torch.no_grad():
        for part in split(range(len(examples)), [len(example.ids) for example in examples], micro_tokens):
            batch = pack([examples[place] for place in part])
            nats += float(summed_loss(model, batch, device))
            tokens += batch.supervised
    if not tokens:
        raise TrainingError("held_out.jsonl has no supervised token, so there is no perplexity; see mix.held_out")
    return nats / tokens
