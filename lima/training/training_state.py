"""Training state of an unfinished run: fp32 weights, Adam's two moments and the metrics; safetensors and JSON.

Nothing else is saved: batches, learning rate and dropout masks are functions of the step's number.
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
EARLIER_KEY = "inputs.sha256"  # file of earlier versions, in place of INPUTS
MAX_INCOMPATIBLE = 3  # states kept that do not fit a later run


class Digests(Record):
    """SHA-256 (hexadecimal) of a state's files, in the order of FILES."""

    files: tuple[str, ...]


class TrainingStates:
    """Checkpoint manager of a run's working folder, which also contains the unfinished result.

    States are written atomically. Under DeepSpeed, which shards weights and optimizer, no state is saved.
    """

    def __init__(self, working: Path, accelerator: Accelerator) -> None:
        self.folder = working / "states"
        self.result = working / "result"
        self.accelerator = accelerator

    def load(self, loss_model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Load the newest state into weights and optimizer; return an empty Progress if there is none.

        Raises:
            CheckpointError: A file of the state was changed.
        """
        state = self.newest()
        if state is None:
            return Progress()
        _verify(state)
        progress = Progress(
            tuple(jsonl.read(state / "steps.jsonl", StepMetrics)),
            tuple(jsonl.read(state / "epochs.jsonl", EpochMetrics)),
        )
        # not typed by safetensors
        readers: list[Any] = [safe_open(state / name, "pt") for name in FILES[:3]]
        weights, first, second = readers
        with weights, first, second, torch.no_grad():
            for name, weight in self._trained(loss_model):
                weight.copy_(weights.get_tensor(name))
                optimizer.state[weight] = {
                    "step": torch.tensor(float(progress.steps), device=weight.device),
                    "exp_avg": first.get_tensor(name).to(weight.device),
                    "exp_avg_sq": second.get_tensor(name).to(weight.device),
                }
        return progress

    def save(self, loss_model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write a state, then remove older ones, on the main process; the other processes wait."""
        if self.accelerator.is_main_process and not self.accelerator.state.deepspeed_plugin:
            trained = list(self._trained(loss_model))
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
            _fsync(unfinished / name for name in FILES)
            older = _all(self.folder)
            new = self.folder / f"state-{progress.steps:09}-{progress.epoch:04}"
            shutil.rmtree(new, ignore_errors=True)
            unfinished.rename(new)
            for state in older:
                if state != new:
                    shutil.rmtree(state)
        self.accelerator.wait_for_everyone()

    def invalidate(self) -> None:
        """Mark the folder as finished, before it is removed, so that later runs do not keep it."""
        (self.folder.parent / INPUTS).unlink()

    def newest(self) -> Path | None:
        """Folder of the newest state."""
        return max(_all(self.folder), default=None)

    def _trained(self, loss_model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        for name, weight in self.accelerator.unwrap_model(loss_model).named_parameters():
            if weight.requires_grad:
                yield name, weight


def open_states(
    working: Path,
    accelerator: Accelerator,
    *,
    data: Iterable[Path],
    base: Iterable[Path],
    recipe: Train,
    lora: Lora | None = None,
) -> TrainingStates:
    """Open the states of a working folder if its fingerprint is unchanged, else start without one; see `claim`."""
    if accelerator.is_main_process:
        claim(working, fingerprint.compute(data=data, base=base, recipe=recipe, lora=lora))
        (working / "result").mkdir(exist_ok=True)
    accelerator.wait_for_everyone()
    return TrainingStates(working, accelerator)


def incompatible_states(working: Path) -> Path:
    """Folder of earlier working folders whose states did not fit a later run."""
    return working.with_name(f"{working.name}.aside")


def claim(working: Path, needed: Fingerprint) -> None:
    """Make `working` a folder whose states, if any, have the fingerprint `needed`.

    An incompatible state is moved to `incompatible_states(working)`, with a warning that names the differences. A
    state there that fits is moved back. A folder without a state is emptied.
    """
    reasons = _reasons(working, needed)
    if not reasons:
        return
    if (newest := _newest(working)) and _claimed(working):
        moved = incompatible_states(working) / f"{newest.name}-{uuid4().hex[:8]}"
        moved.parent.mkdir(exist_ok=True)
        working.rename(moved)
        moved.touch()  # _remove_oldest sorts by modification time
        print(
            f"warning: the training state in {working} (step {_step(newest)}) does not fit this run: "
            f"{'; '.join(reasons)}. It is moved to {moved}; to continue it, revert the change and run again",
            file=sys.stderr,
        )
        _remove_oldest(incompatible_states(working))
    shutil.rmtree(working, ignore_errors=True)
    if fitting := _fitting(incompatible_states(working), needed):
        fitting.rename(working)
        print(f"{working}: continuing the state of {fitting}", file=sys.stderr)
        return
    working.mkdir(parents=True)
    jsonl.write(working / INPUTS, [needed])


def _reasons(working: Path, needed: Fingerprint) -> list[str]:
    """Differences that make the folder's states incompatible; empty if they fit."""
    try:
        earlier = Fingerprint.model_validate_json((working / INPUTS).read_text())
    except FileNotFoundError:
        return [f"its {INPUTS} is missing"]
    except ValidationError:
        return [f"its {INPUTS} has another version"]
    return fingerprint.differences(earlier, needed)


def _claimed(working: Path) -> bool:
    """Whether the folder belongs to an unfinished run."""
    return (working / INPUTS).exists() or (working / EARLIER_KEY).exists()


def _fitting(folder: Path, needed: Fingerprint) -> Path | None:
    return next((earlier for earlier in folder.glob("state-*") if not _reasons(earlier, needed)), None)


def _remove_oldest(folder: Path) -> None:
    """Remove all but the newest MAX_INCOMPATIBLE."""
    by_age = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path in by_age[:-MAX_INCOMPATIBLE]:
        print(f"warning: removing {path}: at most {MAX_INCOMPATIBLE} incompatible states are kept", file=sys.stderr)
        shutil.rmtree(path)


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob("state-*") if re.fullmatch(r"state-\d+-\d+", path.name)]


def _newest(working: Path) -> Path | None:
    return max(_all(working / "states"), default=None)


def _step(state: Path) -> int:
    return int(state.name.split("-")[1])


def _verify(state: Path) -> None:
    expected = next(jsonl.read(state / DIGESTS, Digests)).files
    changed = [name for name, digest in zip(FILES, expected, strict=True) if fingerprint.digest(state / name) != digest]
    if changed:
        raise CheckpointError(
            f"changed files in {state}: {', '.join(changed)} (digests differ from {DIGESTS}); "
            f"remove {state.parent} to train from the start"
        )


def _fsync(paths: Iterable[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
