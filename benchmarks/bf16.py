"""Loss of 200 steps in bf16, with fp32 weights and a bf16 residual stream as on a GPU, against fp32.

A small model with random weights learns short answers of the corpus, with the same order, learning rates and first
weights. Without fp32 weights, which is measured too, the loss leaves the tolerance.

Tolerance of a step: u · √(n / T) · first loss. u = 2⁻⁸ is the relative error of one rounding to bf16. A number passes
n = 20 roundings per layer on its way from the embeddings to the loss and back (two norms, two products and the
attention of each branch, SwiGLU, and the addition to the stream, about ten each way). Errors of independent roundings
grow with √n and average out over the T supervised tokens of a step. They act on the loss itself and, through the
gradients, on its decrease so far, whose sum is the first loss.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate.state import AcceleratorState

from benchmarks.claims import Claim, claim
from lima import config
from lima.config.entries import RandomModel
from lima.config.sections import Train
from lima.records import Example, Provenance, Turn
from lima.training import base_model, launch, tokenization, trainer
from lima.training.trainer import Requests

ANSWERS = Path(__file__).parents[1] / "corpus" / "authored_short" / "group_a_train.jsonl"
MODEL = RandomModel(kind="random", layers=2, hidden=32, heads=2, context=512)
STEPS, EXAMPLES = 200, 32
UNIT, ROUNDINGS = 2.0**-8, 20  # relative error of a rounding to bf16; roundings per layer, forward and backward
CHANGES = {
    "batch_size": 4,
    "max_tokens": 96,
    "micro_batch_tokens": 512,
    "lr": 1e-3,
    "lr_end": 1e-4,
    "residual_dropout": 0.0,
    "max_loss": 1000.0,
}


class Curve(NamedTuple):
    losses: list[float]  # of each step
    tokens: list[int]  # supervised, of each step


def measure() -> Iterator[Claim]:
    """The largest difference of a step's loss from fp32, as a share of its tolerance."""
    with tempfile.TemporaryDirectory() as folder:
        base_model.write(MODEL, Path(folder), seed=1)
        exact = curve(Path(folder), bf16=False, steps=STEPS)
        for name, fp32_weights, target in (("fp32 weights", True, "≤ 1"), ("bf16 weights, as a control", False, "≥ 1")):
            other = curve(Path(folder), bf16=True, steps=STEPS, fp32_weights=fp32_weights)
            step, difference, tolerance = worst(exact, other)
            shown = [round(other.losses[number], 4) for number in (0, 49, 99, 149, STEPS - 1)]
            print(
                f"{name}: losses {shown}, largest difference relative to the tolerance in step {step + 1}",
                file=sys.stderr,
            )
            what = f"loss of {STEPS} steps in bf16 with {name}: largest difference from fp32, peer the tolerance"
            yield claim(what, ours=difference, peer=tolerance, unit="natural log", target=target)
        shown = [round(exact.losses[number], 4) for number in (0, 49, 99, 149, STEPS - 1)]
        print(f"fp32: losses {shown}", file=sys.stderr)


def worst(exact: Curve, other: Curve) -> tuple[int, float, float]:
    """The step with the largest difference relative to its tolerance, the difference and the tolerance."""
    limits = tolerances(exact)
    differences = [abs(a - b) for a, b in zip(exact.losses, other.losses, strict=True)]
    step = max(range(len(limits)), key=lambda number: differences[number] / limits[number])
    return step, differences[step], limits[step]


def tolerances(exact: Curve) -> list[float]:
    """Tolerance of each step's loss; see above."""
    roundings = ROUNDINGS * MODEL.layers
    return [UNIT * (roundings / tokens) ** 0.5 * exact.losses[0] for tokens in exact.tokens]


def curve(base: Path, *, bf16: bool, steps: int, fp32_weights: bool = True) -> Curve:
    """Train the base model.

    Args:
        bf16: Of the computation and of the residual stream; else both are fp32.
        fp32_weights: Else the weights are rounded to bf16 after each step.
    """
    precision = "bf16" if bf16 else "fp32"
    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps one state per process
    recipe = _recipe(precision, steps)
    accelerator = launch.accelerator(recipe)
    model, tokenizer, eot_id = launch.starting_point(base, recipe)
    encoded = tokenization.encode(examples(), tokenizer, eot_id=eot_id, max_tokens=recipe.max_tokens)
    loss_model, optimizer = trainer.prepare(model, recipe, accelerator)
    loss_model.train()
    losses, tokens = [], []
    epochs = (trainer._steps(epoch, encoded, recipe, 1) for epoch in range(1, recipe.epochs + 1))
    for step in islice((step for epoch in epochs for step in epoch), steps):
        losses.append(trainer.train_step(step, loss_model, optimizer, accelerator, recipe, Requests()).loss)
        tokens.append(step.supervised)
        if not fp32_weights:
            with torch.no_grad():
                for weight in loss_model.parameters():
                    weight.copy_(weight.bfloat16())
    return Curve(losses, tokens)


def _recipe(precision: str, steps: int) -> Train:
    batch_size = int(CHANGES["batch_size"])
    epochs = -(-steps * batch_size // EXAMPLES)
    changes = CHANGES | {"precision": precision, "residual_precision": precision, "epochs": epochs}
    return Train.model_validate(config.load().train.model_dump() | changes | {"keep_epochs": [epochs, epochs]})


def examples() -> Sequence[Example]:
    """Short answers of the corpus."""
    place = Provenance(source="x", site="x", id="x", url="", author="", license="", digest="")
    with ANSWERS.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, EXAMPLES)]
    return [
        Example(
            id=row["id"],
            messages=tuple(Turn(role=turn["role"], content=turn["content"]) for turn in row["messages"]),
            tags=(),
            provenance=place,
        )
        for row in rows
    ]
