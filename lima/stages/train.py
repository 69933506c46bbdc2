"""Fine-tune the base model on an arm's examples: `python -m lima.stages.train ARM`.

The training processes are started by the command `train.launch` of params.yaml or, where one is set, of LIMA_LAUNCH,
such as one with the rank of a node. The module may also be run under `accelerate launch` or `torchrun` directly.

After an interruption, run the same command again to resume. The training state is in work/train/ARM; it is used only
if the inputs of a training step are unchanged.
"""

import hashlib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lima import config, jsonl, mlflow_runs, storage
from lima.config.entries import Lora
from lima.config.sections import Train
from lima.errors import LimaError, run_command
from lima.mlflow_runs import StepSpeed
from lima.parallel import progress
from lima.records import EpochMetrics, Example, Record, StepMetrics, ValidationResult

if TYPE_CHECKING:  # these import torch or mlflow
    from accelerate import Accelerator

    from lima import tracking
    from lima.training.protocols import CausalLM, ChatTokenizer
    from lima.training.throughput import Throughput
    from lima.training.tokenization import Encoded
    from lima.training.trainer import SaveCheckpoint
    from lima.training.training_state import TrainingStates

LAUNCH = "LIMA_LAUNCH"
# set in processes that a launch command started: by this module, by torchrun and by `accelerate launch`
LAUNCHED = ("LIMA_LAUNCHED", "RANK", "ACCELERATE_MIXED_PRECISION")
STOP_NOTE = b"""
stopping: saving the state after this step; press Ctrl-C again to end at once and lose the steps since the last state
"""


class TrainError(LimaError):
    """Training cannot start: validation failed, or its result is outdated."""


class Tokens(Record):
    """Token counts of an arm's training set."""

    examples: int
    cut_examples: int  # longer than max_tokens
    cut_tokens: int  # dropped, since they exceed max_tokens
    tokens: int
    supervised_tokens: int


def start(arm: str) -> None:
    """Train in this process, or replace it by the launch command, which runs this module in each of its processes.

    Raises:
        TrainError: the program of the launch command does not exist.
    """
    command = shlex.split(os.environ.get(LAUNCH) or config.load().train.launch)
    if command == ["python"] or any(name in os.environ for name in LAUNCHED):
        return main(arm)
    os.environ[LAUNCHED[0]] = "1"
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0], path=programs)
    if program is None:
        raise TrainError(f"program not found: {command[0]}, of the launch command; correct train.launch or {LAUNCH}")
    os.execv(program, [*command, "-m", "lima.stages.train", arm])  # noqa: S606 - no shell


@dataclass(frozen=True)
class TrainingJob:
    """What the training of an arm reads, and where it writes."""

    arm: str
    params: config.Params  # of the arm
    lora: Lora | None
    base: Path
    train: Path
    held_out: Path
    working: Path  # training state and unpublished result
    result: Path


@storage.alone("train")
def main(arm: str) -> None:
    job = job_of(arm)
    require_validated(arm, job.train)

    from lima.training import (
        checkpoint,
        launch,
        library_output,
        selfcheck,
    )  # imported here, since loading torch takes seconds

    library_output.reduce()
    recipe = job.params.train
    accelerator = launch.accelerator(recipe)
    recipe = launch.with_micro_batches(recipe, job.base, accelerator)
    job = replace(job, params=job.params.model_copy(update={"train": recipe}))
    shown = accelerator.is_main_process
    with progress.phase(f"{arm}: load and check the model") if shown else nullcontext():
        model, tokenizer, eot_id = launch.starting_point(job.base, recipe, job.lora)
        selfcheck.require(model, tokenizer, eot_id, recipe=recipe, accelerator=accelerator)
        train, held_out = (encoded(path, tokenizer, eot_id, recipe) for path in (job.train, job.held_out))
    if accelerator.is_main_process:
        config.warn_if_uncompared(arm, job.params)
        warn_of_unsupervised(held_out, recipe.max_tokens)
        storage.restore(job.result)
    states = open_states(job, accelerator)
    save = checkpoint.epoch_saver(
        states.result, accelerator, tokenizer, eot_id=eot_id, lora=job.lora, keep_epochs=recipe.keep_epochs
    )
    train_to_end(job, model, train, held_out, accelerator=accelerator, save=save, states=states)
    if accelerator.is_main_process:
        storage.publish_folder(states.result, job.result)
        states.invalidate()  # after publishing, so that a kill before this line loses nothing
        shutil.rmtree(job.working)


def job_of(arm: str) -> TrainingJob:
    params = config.load()
    lora = config.entry(params.arms, "arm", arm).lora
    params, mixed = params.of_arm(arm), storage.result_dir("mix", arm)
    return TrainingJob(
        arm,
        params,
        lora,
        base=storage.result_dir("base", params.train.model),
        train=mixed / "train.jsonl",
        held_out=mixed / "held_out.jsonl",
        working=storage.WORK / "train" / arm,
        result=storage.result_dir("train", arm),
    )


def encoded(path: Path, tokenizer: "ChatTokenizer", eot_id: int, recipe: Train) -> "list[Encoded]":
    from lima.training import tokenization

    return tokenization.encode(jsonl.read(path, Example), tokenizer, eot_id=eot_id, max_tokens=recipe.max_tokens)


def open_states(job: TrainingJob, accelerator: "Accelerator") -> "TrainingStates":
    """Open the training states of an earlier start with the same inputs, and check the free disk space."""
    from lima.training import disk_space, training_state

    states = training_state.open_states(
        job.working,
        accelerator,
        data=[job.train, job.held_out],
        base=job.base.iterdir(),
        recipe=job.params.train,
        lora=job.lora,
    )
    # after states of other inputs were moved aside, or those of these inputs back
    disk_space.check(job.base, job.working, job.result, job.params.train)
    return states


def train_to_end(
    job: TrainingJob,
    model: "CausalLM",
    train: "Sequence[Encoded]",
    held_out: "Sequence[Encoded]",
    *,
    accelerator: "Accelerator",
    save: "SaveCheckpoint",
    states: "TrainingStates",
) -> None:
    """Train; the main process logs and writes the metrics. A stop signal ends the process after the current step."""
    from lima.training import throughput, trainer

    recipe = job.params.train
    try:
        with stop_signals(main_process=accelerator.is_main_process) as received, storage.report_disk_full(job.working):
            metrics = trainer.fit(
                model,
                train,
                held_out,
                recipe=recipe,
                accelerator=accelerator,
                save=save,
                states=states,
                should_stop=lambda: bool(received),
            )
            if not accelerator.is_main_process:
                return exhaust(metrics)
            speed = throughput.Throughput.for_model(model, accelerator, bf16=recipe.precision == "bf16")
            write(job.arm, metrics, states.result, tokens_of(train), job.params, speed)
    except trainer.TrainingInterrupted as stopped:
        if accelerator.is_main_process:
            print(f"{job.arm}: {stopped}; the same command continues", file=sys.stderr)
        sys.exit(128 + (*received, signal.SIGTERM)[0])  # as shells report the signal


@contextmanager
def stop_signals(*, main_process: bool) -> Iterator[list[int]]:
    """Record SIGTERM and SIGINT instead of ending the process.

    A second SIGINT ends the process at once. With several processes it does not, since the launcher repeats SIGINT.

    Yields:
        The signal numbers, in the order in which they are received.
    """
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        received.append(number)
        if number == signal.SIGINT and int(os.environ.get("WORLD_SIZE", "1")) == 1:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if number == signal.SIGINT and main_process and received.count(number) == 1:
            os.write(2, STOP_NOTE)  # print is not reentrant: the handler may have interrupted one

    watched = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, receive) for number in watched}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exhaust(metrics: Iterable[object]) -> None:
    for _ in metrics:
        pass


def require_validated(arm: str, train: Path) -> None:
    """Check that train.jsonl passed validation.

    Raises:
        TrainError: validation failed, or train.jsonl has changed since.
    """
    path = storage.result_dir("validate", arm) / "gate.json"
    result = next(jsonl.read(path, ValidationResult), None)
    if result is None or not result.passed:
        raise TrainError(f"validation failed for arm {arm}: {path}; run `dvc repro validate@{arm}` for details")
    if not train.is_file() or hashlib.sha256(train.read_bytes()).hexdigest() != result.train_digest:
        raise TrainError(f"{path} does not match the current {train}; run `dvc repro validate@{arm}`")


def warn_of_unsupervised(held_out: "Sequence[Encoded]", max_tokens: int) -> None:
    """Warn about held-out examples that max_tokens cuts before their response: the perplexity excludes them."""
    ids = [example.id for example in held_out if not example.supervised]
    if ids:
        print(
            f"warning: {len(ids)} of {len(held_out)} held-out examples have no supervised token within "
            f"train.max_tokens {max_tokens}, so the perplexity excludes them: {', '.join(ids)}",
            file=sys.stderr,
        )


def tokens_of(train: "Sequence[Encoded]") -> Tokens:
    return Tokens(
        examples=len(train),
        cut_examples=sum(example.cut > 0 for example in train),
        cut_tokens=sum(example.cut for example in train),
        tokens=sum(len(example.ids) for example in train),
        supervised_tokens=sum(example.supervised for example in train),
    )


def write(
    arm: str,
    metrics: Iterable[StepMetrics | EpochMetrics],
    folder: Path,
    tokens: Tokens,
    params: config.Params,
    throughput: "Throughput",
) -> None:
    """Run training to its end and write metrics and token counts next to the checkpoints."""
    description = (
        mlflow_runs.read(folder)
        if (folder / "run.json").exists()
        else mlflow_runs.describe(params, arm, measurements={**tokens.model_dump(), "peak_flops": throughput.peak})
    )
    with mlflow_runs.training(arm, description, folder) as tracked:
        total = params.train.epochs * tokens.tokens
        steps, speeds, epochs = follow(arm, metrics, tracked, folder, total, throughput)
    jsonl.write(folder / "tokens.json", [tokens])
    jsonl.write(folder / "steps.jsonl", steps)
    jsonl.write(folder / "speed.jsonl", speeds)
    jsonl.write(folder / "epochs.jsonl", epochs)
    speed = sum(step.tokens for step in steps) / sum(step.seconds for step in steps)
    print(f"{arm}: loss {epochs[0].train_loss:.3f} → {epochs[-1].train_loss:.3f}, {speed:.0f} tokens/s")


def follow(
    arm: str,
    metrics: Iterable[StepMetrics | EpochMetrics],
    tracked: "tracking.Run",
    folder: Path,
    tokens: int,
    throughput: "Throughput",
) -> tuple[list[StepMetrics], list[StepSpeed], list[EpochMetrics]]:
    """Show and log metrics as training yields them; steps that an earlier process logged are not logged again.

    The throughput of each step is appended to speed.jsonl at once: it cannot be measured again after a restart.
    """
    description, path = mlflow_runs.read(folder), folder / "speed.jsonl"
    measured = mlflow_runs.resume_speeds(path)
    steps: list[StepMetrics] = []
    speeds: list[StepSpeed] = []
    epochs: list[EpochMetrics] = []
    seconds = 0.0
    logged = tracked.last_step("step/loss")
    with tqdm(total=tokens, unit="tok", unit_scale=True, desc=f"train {arm}", disable=None) as bar:
        for metric in metrics:
            if isinstance(metric, StepMetrics):
                seconds += metric.seconds
                speed = throughput.of_step(metric)
                steps.append(metric)
                earlier = measured.get(metric.step)
                if earlier and earlier.tokens_per_second == speed["tokens_per_second"]:  # else the step was run again
                    speeds.append(earlier)
                else:
                    speeds.append(StepSpeed(step=metric.step, **speed))
                    with path.open("a", encoding="utf-8") as lines:
                        lines.write(speeds[-1].model_dump_json() + "\n")
                bar.update(metric.tokens)
                bar.set_postfix(epoch=metric.epoch, loss=f"{metric.loss:.3f}", **throughput.progress_fields(speed))
                if metric.step > logged:
                    values = mlflow_runs.step_values(metric, speeds[-1])
                    tracked.metrics(values, step=metric.step, time=mlflow_runs.moment(description, seconds))
            else:
                epochs.append(metric)
                if len(steps) >= logged:
                    mlflow_runs.log_epoch(tracked, arm, metric, time=mlflow_runs.moment(description, seconds))
    return steps, speeds, epochs


if __name__ == "__main__":
    run_command(start)
