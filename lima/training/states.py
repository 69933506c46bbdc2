"""What a killed run continues from: fp32 weights, Adam's two moments and the metrics so far; safetensors and JSON.

Nothing else has a state: the batches, the learning rate and what dropout draws are functions of the step's number.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file

from lima import jsonl
from lima.params.entries import Lora
from lima.params.sections import Train
from lima.records import EpochMetrics, Record, StepMetrics
from lima.training.checkpoint import CheckpointError
from lima.training.progress import Progress

FILES = ("weight.safetensors", "exp_avg.safetensors", "exp_avg_sq.safetensors", "steps.jsonl", "epochs.jsonl")
KEY, DIGESTS = "inputs.sha256", "digests.json"


class Digests(Record):
    """SHA-256 of a state's files, hexadecimal, in the order of FILES."""

    files: tuple[str, ...]


class KeptStates:
    """States in a run's working folder, beside its unfinished result; a state is whole, or it is not there.

    Under DeepSpeed, which shards what a state is made of, none is kept.
    """

    def __init__(self, working: Path, accelerator: Accelerator) -> None:
        self.folder = working / "states"
        self.result = working / "result"
        self.accelerator = accelerator

    def load(self, learner: Any, optimizer: Any) -> Progress:
        """Put the newest state into weights and optimizer; an empty Progress where there is none."""
        found = self.newest()
        if found is None:
            return Progress()
        _verify(found)
        progress = Progress(
            tuple(jsonl.read(found / "steps.jsonl", StepMetrics)),
            tuple(jsonl.read(found / "epochs.jsonl", EpochMetrics)),
        )
        # safetensors leaves its readers untyped
        readers: list[Any] = [safe_open(found / name, "pt") for name in FILES[:3]]
        weights, first, second = readers
        with weights, first, second, torch.no_grad():
            for name, weight in self._trained(learner):
                weight.copy_(weights.get_tensor(name))
                optimizer.state[weight] = {
                    "step": torch.tensor(float(progress.steps), device=weight.device),
                    "exp_avg": first.get_tensor(name).to(weight.device),
                    "exp_avg_sq": second.get_tensor(name).to(weight.device),
                }
        return progress

    def save(self, learner: Any, optimizer: Any, progress: Progress) -> None:
        """Write a state, then forget the older ones; the main process does it, and the others wait."""
        if self.accelerator.is_main_process and not self.accelerator.state.deepspeed_plugin:
            trained = list(self._trained(learner))
            unfinished = self.folder / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            save_file({name: weight.detach() for name, weight in trained}, unfinished / FILES[0])
            for moment, name in zip(("exp_avg", "exp_avg_sq"), FILES[1:3], strict=True):
                save_file({key: optimizer.state[weight][moment] for key, weight in trained}, unfinished / name)
            jsonl.write(unfinished / "steps.jsonl", progress.step_metrics)
            jsonl.write(unfinished / "epochs.jsonl", progress.epoch_metrics)
            jsonl.write(unfinished / DIGESTS, [Digests(files=tuple(_digest(unfinished / name) for name in FILES))])
            _to_disk(unfinished / name for name in FILES)
            older = self._all()
            place = self.folder / f"state-{progress.steps:09}-{progress.epoch:04}"
            shutil.rmtree(place, ignore_errors=True)
            unfinished.rename(place)
            for state in older:
                if state != place:
                    shutil.rmtree(state)
        self.accelerator.wait_for_everyone()

    def forget(self) -> None:
        """Mark the folder as useless to later runs, before it is removed."""
        (self.folder.parent / KEY).unlink()

    def newest(self) -> Path | None:
        return max(self._all(), default=None)

    def _all(self) -> list[Path]:
        return [path for path in self.folder.glob("state-*") if re.fullmatch(r"state-\d+-\d+", path.name)]

    def _trained(self, learner: Any) -> Iterator[tuple[str, torch.Tensor]]:
        for name, weight in self.accelerator.unwrap_model(learner).named_parameters():
            if weight.requires_grad:
                yield name, weight


def keep(
    working: Path, accelerator: Accelerator, *, inputs: Iterable[Path], recipe: Train, lora: Lora | None = None
) -> KeptStates:
    """The states in a working folder, if they are of the same inputs, recipe, code, torch and number of processes.

    If not, the folder is emptied: changed data never continues an old run.
    """
    if accelerator.is_main_process:
        code = Path(__file__).parent.glob("*.py")
        words = (recipe.model_dump_json(exclude={"launch", "state_steps"}), repr(lora), torch.__version__)
        claim(working, digest([*inputs, *code], *words, str(accelerator.num_processes)))
        (working / "result").mkdir(exist_ok=True)
    accelerator.wait_for_everyone()
    return KeptStates(working, accelerator)


def claim(working: Path, key: str) -> None:
    """Keep what lies in a working folder if it was claimed with the same key, and empty it if not."""
    mark = working / KEY
    if not mark.is_file() or mark.read_text() != key:
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir(parents=True)
        unfinished = mark.with_name(KEY + ".unfinished")
        unfinished.write_text(key)
        unfinished.replace(mark)


def digest(files: Iterable[Path], *words: str) -> str:
    """SHA-256, hexadecimal, of files, by name and content, and of words."""
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(f"{path.name} {_digest(path)}\n".encode())
    for word in words:
        whole.update(f"{word}\n".encode())
    return whole.hexdigest()


def _verify(state: Path) -> None:
    expected = next(jsonl.read(state / DIGESTS, Digests)).files
    torn = [name for name, digest in zip(FILES, expected, strict=True) if _digest(state / name) != digest]
    if torn:
        raise CheckpointError(
            f"{state} was changed after it was written ({', '.join(torn)} no longer have the digests in {DIGESTS}); "
            f"remove {state.parent} to train from the start"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _to_disk(paths: Iterable[Path]) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
