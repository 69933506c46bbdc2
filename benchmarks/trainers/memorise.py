"""Sanity check: the model overfits 32 examples.

`python -m benchmarks.trainers.memorise EPOCHS` prints the loss of each epoch, and at the end the share of supervised
tokens that the model predicts correctly given the true preceding tokens, and the number of examples without an error.
Nothing is generated. It takes about twelve minutes on two cores.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import train as measured
from lima import config
from lima.config.sections import Train
from lima.records import EpochMetrics, Example, Provenance, Turn
from lima.training import base_model, launch, tokenization, trainer
from lima.training.packing import pack
from lima.training.tokenization import IGNORED
from lima.training.trainer import Progress

EXAMPLES, WORDS = 32, 40  # words of an answer that are learnt


class Unkept:
    """No state is kept."""

    def load(self, learner: object, optimizer: object) -> Progress:
        return Progress()

    def save(self, learner: object, optimizer: object, progress: Progress) -> None:
        pass

    def check(self) -> None:
        pass

    wait = finish = check


def main(epochs: int) -> None:
    changes = {"epochs": epochs, "keep_epochs": [1, epochs], "batch_size": 8, "lr": 1e-3, "lr_end": 1e-4}
    recipe = Train.model_validate(
        config.load().train.model_dump() | changes | {"residual_dropout": 0.0, "state_minutes": 10_000.0}
    )
    place = Provenance(source="x", site="x", id="x", url="", author="", license="", digest="")
    examples = [
        Example(
            id=str(number),
            messages=(
                Turn(role="user", content=question.split("\n")[0]),
                Turn(role="assistant", content=" ".join(answer.split()[:WORDS])),
            ),
            tags=(),
            provenance=place,
        )
        for number, (question, answer) in zip(range(EXAMPLES), measured.shipped(), strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        base_model.write(measured.MODEL, Path(folder), seed=1)
        model, tokenizer, eot_id = launch.starting_point(Path(folder), recipe)
    accelerator = launch.accelerator(recipe)
    encoded = tokenization.encode(examples, tokenizer, eot_id=eot_id, max_tokens=recipe.max_tokens)
    unsaved = lambda epoch, learner: ("", "")  # noqa: E731
    metrics = trainer.fit(
        model, encoded, encoded, recipe=recipe, accelerator=accelerator, save=unsaved, states=Unkept(), should_stop=bool
    )
    for metric in metrics:
        if isinstance(metric, EpochMetrics):
            print(metric.epoch, f"loss {metric.train_loss:.4f}", flush=True)
    right = total = whole = 0
    model.eval()
    with torch.no_grad():
        for example in encoded:
            batch = pack([example])
            guessed = model(input_ids=batch.ids, position_ids=batch.positions).logits[0, :-1].argmax(dim=1)
            wanted = batch.labels[0, 1:]
            hit = (guessed == wanted)[wanted != IGNORED]
            right, total, whole = right + int(hit.sum()), total + len(hit), whole + int(hit.all())
    print(json.dumps({"tokens_right": right / total, "examples_whole": whole, "of": len(encoded)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
