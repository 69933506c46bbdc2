"""An untrained two-layer model, a recipe and examples: training takes well under a second."""

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from lima import config
from lima.config.entries import RandomModel
from lima.config.sections import Train
from lima.records import Example, Provenance, Turn
from lima.training import base_model, launch, packing, tokenization, trainer
from lima.training.trainer import Progress

SHIPPED = Path(__file__).parents[2] / "params.yaml"
MODEL = RandomModel(kind="random", layers=2, hidden=32, heads=2, context=512)
PLACE = Provenance(source="authored", site="A", id="1", url="", author="ann", license="MIT", digest="0")
TEXTS = [
    ("Why is the sky blue?", "Air scatters blue light most."),
    ("Hi", "Hello! How can I help?"),
    ("Name a fruit", "Plum."),
    ("What now?", "Rest for a while, then go on with the second half."),
    ("2 + 2", "4"),
    ("Write a line", "The sea keeps all its letters, and answers none of them."),
    ("Is tea hot?", "Mostly."),
]

torch.set_num_threads(1)  # more threads are slower for a model this small


def recipe(**changes: object) -> Train:
    values: dict[str, object] = {
        "model": "random",
        "epochs": 2,
        "batch_size": 3,
        "max_tokens": 128,
        "micro_batch_tokens": 100,
        "lr": 1e-3,
        "lr_end": 1e-4,
        "beta1": 0.9,
        "beta2": 0.95,
        "epsilon": 1e-8,
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
        "residual_dropout": 0.0,
        "precision": "fp32",
        "residual_precision": "fp32",
        "fused_layers": False,
        "gradient_checkpointing": False,
        "deterministic": False,
        "max_loss": 1000.0,
        "state_minutes": 1000.0,
        "seed": 17,
    }
    epochs = changes.get("epochs", values["epochs"])
    return Train.model_validate(
        config.load(SHIPPED).train.model_dump() | values | {"keep_epochs": [1, epochs]} | changes
    )


def example(number: int, *texts: str) -> Example:
    """A dialogue of `texts`, the user's first."""
    turns = [Turn(role="assistant" if index % 2 else "user", content=text) for index, text in enumerate(texts)]
    return Example(id=f"authored/A/{number}", messages=tuple(turns), tags=(), provenance=PLACE)


def examples() -> list[Example]:
    return [example(number, *texts) for number, texts in enumerate(TEXTS)]


def start(folder: Path, train: Train):
    """Model, tokenizer, id of EOT and encoded examples; the base model is written to `folder`."""
    if not (folder / "base").exists():
        base_model.write(MODEL, folder / "base", seed=1)
    model, tokenizer, eot_id = launch.starting_point(folder / "base", train)
    encoded = tokenization.encode(examples(), tokenizer, eot_id=eot_id, max_tokens=train.max_tokens)
    return model, tokenizer, eot_id, encoded


def accelerator(train: Train) -> Accelerator:
    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps one state per process
    return launch.accelerator(train)


class NoStates:
    """Checkpoint manager that saves nothing."""

    def load(self, loss_model: object, optimizer: object) -> Progress:
        return Progress()

    def save(self, loss_model: object, optimizer: object, progress: Progress) -> None:
        pass

    def check(self) -> None:
        pass

    wait = finish = check


def fitted(
    model, train, held_out, *, recipe: Train, accelerator: Accelerator, save=None, states=None, should_stop=None
):
    """`trainer.fit`, by default without checkpoints, states and stop requests."""
    states, should_stop = states or NoStates(), should_stop or (lambda: False)
    options = {"save": save or unsaved, "states": states, "should_stop": should_stop}
    return trainer.fit(model, train, held_out, recipe=recipe, accelerator=accelerator, **options)


def unsaved(epoch: int, model: object) -> tuple[str, str]:
    return f"epoch-{epoch:02}", ""


def batch() -> packing.Batch:
    """Thirty tokens below 60, all supervised."""
    return packing.pack([tokenization.Encoded("a", tuple(range(1, 31)), tuple(range(1, 31)), 0)])
