"""What a killed run continues from: fp32 weights, Adam's two moments and the metrics so far; safetensors and JSON.

Nothing else has a state: the batches, the learning rate and what dropout draws are functions of the step's number.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from accelerate import Accelerator
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save_file

from lima import jsonl
from lima.config.entries import Lora
from lima.config.sections import Train
from lima.records import EpochMetrics, Record, StepMetrics
from lima.training import fingerprint
from lima.training.checkpoint import CheckpointError
from lima.training.fingerprint import Fingerprint
from lima.training.trainer import Progress

FILES = ("weight.safetensors", "exp_avg.safetensors", "exp_avg_sq.safetensors", "steps.jsonl", "epochs.jsonl")
INPUTS, DIGESTS = "inputs.json", "digests.json"
EARLIER_KEY = "inputs.sha256"  # in the place of INPUTS, before states said what they depend on
MOST_ASIDE = 3  # states that did not fit a later start


class Digests(Record):
    """SHA-256 of a state's files, hexadecimal, in the order of FILES."""

    files: tuple[str, ...]


class TrainingStates:
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
            jsonl.write(
                unfinished / DIGESTS, [Digests(files=tuple(fingerprint.digest(unfinished / name) for name in FILES))]
            )
            _to_disk(unfinished / name for name in FILES)
            older = _all(self.folder)
            place = self.folder / f"state-{progress.steps:09}-{progress.epoch:04}"
            shutil.rmtree(place, ignore_errors=True)
            unfinished.rename(place)
            for state in older:
                if state != place:
                    shutil.rmtree(state)
        self.accelerator.wait_for_everyone()

    def forget(self) -> None:
        """Mark the folder as useless to later runs, before it is removed."""
        (self.folder.parent / INPUTS).unlink()

    def newest(self) -> Path | None:
        return max(_all(self.folder), default=None)

    def _trained(self, learner: Any) -> Iterator[tuple[str, torch.Tensor]]:
        for name, weight in self.accelerator.unwrap_model(learner).named_parameters():
            if weight.requires_grad:
                yield name, weight


def keep(
    working: Path,
    accelerator: Accelerator,
    *,
    data: Iterable[Path],
    base: Iterable[Path],
    recipe: Train,
    lora: Lora | None = None,
) -> TrainingStates:
    """The states in a run's working folder, if what a step depends on is what it was; see `claim`."""
    if accelerator.is_main_process:
        claim(working, fingerprint.of(data=data, base=base, recipe=recipe, lora=lora))
        (working / "result").mkdir(exist_ok=True)
    accelerator.wait_for_everyone()
    return TrainingStates(working, accelerator)


def aside(working: Path) -> Path:
    """The folder of the working folders whose states did not fit a later start."""
    return working.with_name(f"{working.name}.aside")


def claim(working: Path, needed: Fingerprint) -> None:
    """Make `working` a folder whose states, if it has any, fit `needed`.

    A state that does not fit is moved aside, and standard error says why. One that was moved aside before and fits is
    moved back. A folder without a state is emptied.
    """
    reasons = _reasons(working, needed)
    if not reasons:
        return
    if (newest := _newest(working)) and _claimed(working):
        place = aside(working) / f"{newest.name}-{uuid4().hex[:8]}"
        place.parent.mkdir(exist_ok=True)
        working.rename(place)
        place.touch()  # the order in which they came, for _remove_oldest
        print(
            f"warning: {working} holds the state of an earlier run after step {_step(newest)}, which does not fit this "
            f"one: {'; '.join(reasons)}. It is moved to {place}; to continue it, undo that and start again",
            file=sys.stderr,
        )
        _remove_oldest(aside(working))
    shutil.rmtree(working, ignore_errors=True)
    if fitting := _fitting(aside(working), needed):
        fitting.rename(working)
        print(f"{working}: the state of {fitting} fits, and is continued", file=sys.stderr)
        return
    working.mkdir(parents=True)
    jsonl.write(working / INPUTS, [needed])


def _reasons(working: Path, needed: Fingerprint) -> list[str]:
    """What keeps the folder's states from being continued; nothing if they fit."""
    try:
        earlier = Fingerprint.model_validate_json((working / INPUTS).read_text())
    except FileNotFoundError:
        return ["it does not say what it was computed from"]
    except ValidationError:
        return [f"its {INPUTS} is of another version of this program"]
    return fingerprint.differences(earlier, needed)


def _claimed(working: Path) -> bool:
    """Whether a folder belongs to a run that is not finished."""
    return (working / INPUTS).exists() or (working / EARLIER_KEY).exists()


def _fitting(folder: Path, needed: Fingerprint) -> Path | None:
    return next((place for place in folder.glob("state-*") if not _reasons(place, needed)), None)


def _remove_oldest(folder: Path) -> None:
    """Keep the MOST_ASIDE that were moved aside last."""
    places = sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime_ns)
    for place in places[:-MOST_ASIDE]:
        print(f"warning: {place} is removed: at most {MOST_ASIDE} states are kept there", file=sys.stderr)
        shutil.rmtree(place)


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob("state-*") if re.fullmatch(r"state-\d+-\d+", path.name)]


def _newest(working: Path) -> Path | None:
    return max(_all(working / "states"), default=None)


def _step(state: Path) -> int:
    return int(state.name.split("-")[1])


def _verify(state: Path) -> None:
    expected = next(jsonl.read(state / DIGESTS, Digests)).files
    torn = [name for name, digest in zip(FILES, expected, strict=True) if fingerprint.digest(state / name) != digest]
    if torn:
        raise CheckpointError(
            f"{state} was changed after it was written ({', '.join(torn)} no longer have the digests in {DIGESTS}); "
            f"remove {state.parent} to train from the start"
        )


def _to_disk(paths: Iterable[Path]) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
