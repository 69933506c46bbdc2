"""Training state of an unfinished run: fp32 weights, Adam's two moments and the metrics; safetensors and JSON.

Nothing else is saved: batches, learning rate and dropout masks are functions of the step's number.

Each process writes the tensors that it owns, and the main process publishes the state once all parts are on disk. It
is written asynchronously: training waits for a copy in host memory, which a thread writes. Without enough memory for
the copies, training waits until the files are written.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from pydantic import ValidationError
from safetensors import safe_open

from lima import jsonl
from lima.config.entries import Lora
from lima.config.sections import Train
from lima.records import EpochMetrics, Record, StepMetrics
from lima.training import fingerprint, host_memory, sharded_state, state_files, state_parts
from lima.training.checkpoint import CheckpointError
from lima.training.fingerprint import Fingerprint
from lima.training.state_parts import Processes
from lima.training.trainer import Progress

WEIGHT, MOMENTS = "weight", ("exp_avg", "exp_avg_sq")  # each in files NAME-00001.safetensors, …
STEMS = (WEIGHT, *MOMENTS)
MEMORY_SHARE = 0.5  # share of a node's available memory that the copies of its processes may take
INPUTS, DIGESTS = "inputs.json", "digests.json"
EARLIER_KEY = "inputs.sha256"  # file of earlier versions, in place of INPUTS
MAX_INCOMPATIBLE = 3  # states kept that do not fit a later run


class Digests(Record):
    """SHA-256 (hexadecimal) of a state's files by name."""

    files: dict[str, str]


class TrainingStates:
    """Checkpoint manager of a run's working folder, which also contains the unfinished result.

    States are written atomically. They hold whole tensors, also under DeepSpeed, which shards weights and optimizer:
    training may continue on another number of processes.

    Every process calls `load`, `save`, `wait` and `finish` at the same steps.
    """

    def __init__(self, working: Path, accelerator: Accelerator, processes: Processes) -> None:
        self.folder = working / "states"
        self.result = working / "result"
        self.accelerator = accelerator
        self.processes = processes
        self._saves = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="training state")
        self._writing: Future[None] | None = None
        self._warned = False

    def load(self, loss_model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Load the newest state into weights and optimizer; return an empty Progress if there is none.

        Raises:
            CheckpointError: A file of the state was changed.
        """
        newest = self.newest()
        [name] = broadcast_object_list([newest and newest.name])  # of the main process, since nodes may cache names
        if name is None:
            return Progress()
        state = self.folder / name
        _verify(state, self.processes)
        progress = Progress(
            tuple(jsonl.read(state / "steps.jsonl", StepMetrics)),
            tuple(jsonl.read(state / "epochs.jsonl", EpochMetrics)),
        )
        with ExitStack() as stack, torch.no_grad():
            weights, first, second = (_Tensors(state, name, stack) for name in (WEIGHT, *MOMENTS))
            if self._deepspeed():
                sharded_state.initialize(_zero(optimizer), progress.steps)
            for name, weight in self._trained(loss_model):
                if sharded_state.is_sharded(weight):
                    sharded_state.scatter(weight, weights[name].to(self.accelerator.device))
                    for moment, tensors in zip(MOMENTS, (first, second), strict=True):
                        sharded_state.scatter(weight, tensors[name].to(self.accelerator.device), moment)
                else:
                    weight.copy_(weights[name])
                    optimizer.state[weight] = {
                        "step": torch.tensor(float(progress.steps), device=weight.device),
                        "exp_avg": first[name].to(weight.device),
                        "exp_avg_sq": second[name].to(weight.device),
                    }
        return progress

    def save(self, loss_model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Copy the tensors that this process owns to host memory and start to write them.

        Waits for the state before. The main process removes older states once the new one is complete. Under
        DeepSpeed all processes gather the tensors.
        """
        self.wait()
        self._saves += 1
        owners = self._owners(loss_model)
        tensors = [self._owned(loss_model, optimizer, stem, owners) for stem in STEMS]
        unfinished = self.processes.unfinished(self.folder, self._saves)
        if self._copies_fit(loss_model, owners):
            copies = [[(name, tensor.to("cpu", copy=True)) for name, tensor in some] for some in tensors]
            self._writing = self._thread.submit(self._write, unfinished, [_released(some) for some in copies], progress)
        else:
            self._write(unfinished, tensors, progress)

    def check(self) -> None:
        """Raise the error of the thread, if it failed to write a state."""
        if self._writing and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait until this process has written its part of the last state; raise the error if it failed.

        The main process waits for the parts of all.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def finish(self) -> None:
        """Wait until the last state is written; every process calls it, since a launcher ends all with the first."""
        self.wait()
        self.accelerator.wait_for_everyone()

    def _owners(self, loss_model: torch.nn.Module) -> dict[tuple[str, str], int]:
        """Process that writes a tensor, by stem and name of the weight."""
        sizes = {
            (stem, name): 4 * sharded_state.shape_of(weight).numel()
            for stem in STEMS
            for name, weight in self._trained(loss_model)
        }
        owners = state_parts.owners(list(sizes.values()), len(self.processes.hosts))
        return dict(zip(sizes, owners, strict=True))

    def _copies_fit(self, loss_model: torch.nn.Module, owners: Mapping[tuple[str, str], int]) -> bool:
        """Whether each node has memory for the copies of its processes; equal in all, and logged once if it has not."""
        hosts = self.processes.hosts
        numbers = {name: sharded_state.shape_of(weight).numel() for name, weight in self._trained(loss_model)}
        own_node = [key for key, owner in owners.items() if hosts[owner] == hosts[self.processes.rank]]
        memory = torch.tensor(
            [[float(sum(4 * numbers[name] for _, name in own_node)), float(host_memory.available())]],
            dtype=torch.float64,
            device=self.accelerator.device,
        )
        nodes: list[list[float]] = self.accelerator.gather(memory).tolist()
        needed, free = max(nodes, key=lambda node: node[0] - MEMORY_SHARE * node[1])
        fits = needed <= MEMORY_SHARE * free
        if not fits and not self._warned and self.accelerator.is_main_process:
            print(
                f"training waits while its state is written: a copy takes {needed / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB of host memory are available",
                file=sys.stderr,
            )
            self._warned = True
        return fits

    def _write(
        self, unfinished: Path, tensors: Sequence[Iterable[tuple[str, torch.Tensor]]], progress: Progress
    ) -> None:
        """Write this process's tensors of STEMS; the main process then publishes the state."""
        unfinished.mkdir(parents=True, exist_ok=True)
        if self.processes.main:
            self._publish(unfinished, self._write_tensors(unfinished, tensors), progress)
        else:
            with state_parts.report_failure(unfinished, self.processes):
                state_parts.publish(unfinished, self.processes, self._write_tensors(unfinished, tensors))

    def _write_tensors(self, unfinished: Path, tensors: Sequence[Iterable[tuple[str, torch.Tensor]]]) -> dict[str, str]:
        digests: dict[str, str] = {}
        for stem, some in zip(STEMS, tensors, strict=True):
            digests |= state_files.write_all(unfinished, self.processes.stem(stem), some)
        return digests

    def _publish(self, unfinished: Path, digests: dict[str, str], progress: Progress) -> None:
        """Write the metrics, wait for the other processes' parts, publish all as a state, and remove older ones."""
        jsonl.write(unfinished / "steps.jsonl", progress.step_metrics)
        jsonl.write(unfinished / "epochs.jsonl", progress.epoch_metrics)
        digests |= {name: fingerprint.digest(unfinished / name) for name in ("steps.jsonl", "epochs.jsonl")}
        digests |= state_parts.collect(unfinished, self.processes)
        jsonl.write(unfinished / DIGESTS, [Digests(files=digests)])
        _fsync(unfinished)
        older = _all(self.folder)
        new = self.folder / f"state-{progress.steps:09}-{progress.epoch:04}"
        shutil.rmtree(new, ignore_errors=True)
        unfinished.rename(new)
        _fsync(self.folder)
        for state in older:
            if state != new:
                shutil.rmtree(state)

    def _deepspeed(self) -> bool:
        return self.accelerator.state.deepspeed_plugin is not None

    def _owned(
        self,
        loss_model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        stem: str,
        owners: Mapping[tuple[str, str], int],
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of each trained weight that this process owns or, for a stem of MOMENTS, of its moment."""
        moment = stem if stem in MOMENTS else None
        for name, weight in self._trained(loss_model):
            owned = owners[stem, name] == self.processes.rank
            if sharded_state.is_sharded(weight):
                whole = sharded_state.gather(weight, moment)  # by all processes
                if owned:
                    yield name, whole
            elif owned:
                yield name, optimizer.state[weight][moment] if moment else weight.detach()

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
    """Open the states of a working folder if its fingerprint is unchanged, else start without one; see `claim`.

    Every process calls it.

    Raises:
        CheckpointError: The processes do not share the folder.
    """
    if accelerator.is_main_process:
        claim(working, fingerprint.compute(data=data, base=base, recipe=recipe, lora=lora))
        (working / "result").mkdir(exist_ok=True)
        for unfinished in (working / "states").glob("unfinished*"):  # of an earlier start
            shutil.rmtree(unfinished)
    return TrainingStates(working, accelerator, state_parts.connect(working, accelerator))


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


class _Tensors:
    """Tensors by name in the files of a stem; a file is open until the stack is closed."""

    def __init__(self, state: Path, stem: str, stack: ExitStack) -> None:
        self._files: dict[str, Any] = {}  # not typed by safetensors
        for path in sorted(state.glob(f"{stem}-*.safetensors")):
            reader = stack.enter_context(safe_open(path, "pt"))
            self._files |= dict.fromkeys(reader.keys(), reader)

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        return tensor


def _released(tensors: list[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors in their order and drop each from the list, so that its memory is free once it is written."""
    tensors.reverse()
    while tensors:
        yield tensors.pop()


def _zero(optimizer: torch.optim.Optimizer) -> Any:
    """DeepSpeed's ZeRO optimizer in accelerate's wrapper; neither has types."""
    return cast(Any, optimizer).optimizer


def _verify(state: Path, processes: Processes) -> None:
    """Check the digests of a state's files; each process reads some of them."""
    path = state / DIGESTS
    try:
        expected = Digests.model_validate_json(path.read_text()).files
    except (FileNotFoundError, ValidationError) as error:
        raise CheckpointError(
            f"not a training state of this version: {path}; remove {state.parent} to train from the start"
        ) from error
    some = sorted(expected)[processes.rank :: len(processes.hosts)]
    changed = gather_object(state_files.changed(state, {name: expected[name] for name in some}))
    if changed:
        raise CheckpointError(
            f"changed files in {state}: {', '.join(changed)} (digests differ from {DIGESTS}); "
            f"remove {state.parent} to train from the start"
        )


def _fsync(folder: Path) -> None:
    """Write the names of a folder's files to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
