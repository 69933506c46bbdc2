"""Content of the MLflow runs, one per arm: parameters, tags, datasets, metrics, models and artifacts.

The stages log while they run. `publish` creates the same runs again from the files that the stages wrote, so that a
lost store can be replaced.
"""

import hashlib
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from lima import jsonl, storage
from lima.config import Params
from lima.errors import LimaError
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.records import EpochMetrics, EpochScore, Example, Record, StepMetrics

if TYPE_CHECKING:
    from lima.tracking import LoggedDataset, Run, Value

ALIAS = "selected"  # of the registered model's version whose checkpoint the stage select chose
DIGEST_CHARS = 16  # of a digest that is a parameter


class TrainingRun(Record):
    """Description of a training run, in run.json next to its checkpoints."""

    run_id: str  # of MLflow; "" if its server was not available
    started: int  # milliseconds since 1970
    parameters: dict[str, str]
    tags: dict[str, str]
    measurements: dict[str, float]  # token counts, and the device's peak FLOP/s if it is known


class StepSpeed(Record):
    """Throughput of one optimizer step: one line of speed.jsonl."""

    step: int
    tokens_per_second: float
    mfu: float | None  # model FLOPs utilization; None if the device's peak is unknown
    peak_memory: float  # bytes, of one process


class NoTraining(LimaError):
    """No arm has been trained."""


def describe(params: Params, arm: str, *, measurements: Mapping[str, float | None]) -> TrainingRun:
    """Describe a training run that starts now, without a run id."""
    train = storage.result_dir("mix", arm) / "train.jsonl"
    sources = sources_of(jsonl.read(train, Example))
    return TrainingRun(
        run_id="",
        started=int(time.time() * 1000),
        parameters=parameters(params, arm, sources),
        tags=tags(params, arm, sources.total(), train),
        measurements={key: float(value) for key, value in measurements.items() if value is not None},
    )


def sources_of(examples: Iterable[Example]) -> Counter[str]:
    """Number of examples by source."""
    return Counter(example.provenance.source for example in examples)


def parameters(params: Params, arm: str, examples: Counter[str]) -> dict[str, str]:
    """Recipe, pool, sources with counts, digest of the filters, seeds and profile of an arm.

    Args:
        params: all parameters.
        arm: an arm of params.yaml.
        examples: training examples by source.
    """
    recipe = params.arms[arm]
    own = {name: [params.source_filters[name], params.sources[name].prefilter or {}] for name in sorted(examples)}
    filters = {"filter": params.filter, "sources": {name: settings for name, settings in own.items() if any(settings)}}
    values: dict[str, object] = {
        "profile": params.profile,
        "model": f"{params.train.model}: {params.models[params.train.model]}",
        "pool": recipe.pool,
        "without": ", ".join(recipe.without),
        "order": recipe.order,
        "examples": examples.total(),
        "filters": _digest(json.dumps(_plain(filters), sort_keys=True))[:DIGEST_CHARS],
        **{f"sources.{source}": examples[source] for source in params.sources if _asked(params, source)},
        **_flat("lora", recipe.lora),
        **_flat("train", params.train),
        "mix.temperature": params.mix.temperature,
        "select.annotator": " ".join(map(str, params.select.annotator.model_dump(mode="json").values())),
        "seed.filter": params.filter.seed,
        "seed.prompts": params.prompts.seed,
        "seed.mix": params.data_seed(arm),
        "seed.train": params.of_arm(arm).train.seed,
        "seed.select": params.select.decoding.seed,
        "seed.sample": params.sample.decoding.seed,
    }
    del values["train.seed"]
    return {key: str(value) for key, value in values.items()}


def tags(params: Params, arm: str, size: int, train: Path) -> dict[str, str]:
    """Arm, ablations, size, seeds, and the state of code and data, to group and filter runs by."""
    lock, repetitions = Path("dvc.lock"), set(params.repetitions(arm))
    return {
        "arm": arm,
        "axis": ", ".join(axis for axis, arms in params.ablations.items() if not repetitions.isdisjoint(arms)),
        "size": str(size),
        "data_seed": str(params.data_seed(arm)),
        "training_seed": str(params.of_arm(arm).train.seed),
        "profile": params.profile,
        "data": _file_digest(train),
        **({"dvc.lock": _file_digest(lock)} if lock.exists() else {}),
        **git_state(),
    }


def git_state() -> dict[str, str]:
    """Commit and uncommitted changes of the checkout, as tags; empty outside of a git repository."""
    git = shutil.which("git")
    if not git:
        return {}
    commit = _output(git, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _output(git, "status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": commit, "git.dirty": "true" if changes else "false"}


@contextmanager
def training(arm: str, description: TrainingRun, folder: Path) -> Iterator["Run"]:
    """Start or resume the run of an arm's training, and write run.json to `folder`."""
    from lima import tracking

    with tracking.start(
        arm,
        description.parameters,
        tags=description.tags,
        run_id=description.run_id,
        started=description.started,
    ) as run:
        jsonl.write(folder / "run.json", [description.model_copy(update={"run_id": run.id})])
        _log_inputs(run, arm, description)
        yield run


def read(folder: Path) -> TrainingRun:
    """Read run.json of a folder with checkpoints."""
    [description] = jsonl.read(folder / "run.json", TrainingRun)
    return description


def resume_speeds(path: Path) -> dict[int, StepSpeed]:
    """Read the throughput that an interrupted process measured, by step; an incomplete last line is removed."""
    if not path.exists():
        return {}
    complete = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    speeds = {speed.step: speed for speed in map(StepSpeed.model_validate_json, complete)}
    jsonl.write(path, speeds.values())
    return speeds


def step_values(metrics: StepMetrics, speed: StepSpeed) -> dict[str, float | None]:
    """Metrics of one optimizer step; `mfu` is None if it is unknown."""
    values = metrics.model_dump(exclude={"step"}) | speed.model_dump(exclude={"step"})
    return {f"step/{key}": value for key, value in values.items()}


def epoch_values(metrics: EpochMetrics) -> dict[str, float]:
    """Metrics of one epoch, by epoch."""
    return {
        "epoch/train_loss": metrics.train_loss,
        "epoch/held_out_perplexity": metrics.held_out_perplexity,
    }


def log_epoch(run: "Run", arm: str, metrics: EpochMetrics, *, time: int) -> None:
    """Log an epoch's metrics, with its checkpoint if it is kept."""
    if metrics.checkpoint:
        folder = storage.result_dir("train", arm) / metrics.checkpoint
        run.checkpoint(metrics.epoch, folder, epoch_values(metrics), digest=metrics.digest, time=time)
    else:
        run.metrics(epoch_values(metrics), step=metrics.epoch, time=time)


def log_selection(arm: str) -> None:
    """Add the scores of select to each epoch's checkpoint, and register the selected one."""
    from lima import tracking  # imports mlflow: seconds

    with tracking.join(read(storage.result_dir("train", arm)).run_id) as run:
        _log_selection(run, arm)


def log_report(arm: str, values: Mapping[str, float]) -> None:
    """Log the figures, the report and the data card of an arm."""
    from lima import tracking  # imports mlflow: seconds

    with tracking.join(read(storage.result_dir("train", arm)).run_id) as run:
        _log_report(run, arm, values)


def publish_unfinished(params: Params) -> list[str]:
    """Publish the runs of trained arms that MLflow does not have as finished: it was not available in training.

    Returns:
        One line per arm that was published.

    Raises:
        TrackingError: MLflow is not available.
    """
    from lima import tracking

    lines = []
    for arm in _trained(params):
        known = tracking.find(identity(arm))
        if known is None or known.status != tracking.FINISHED:
            lines.append(_publish(params, arm))
    return lines


def identity(arm: str) -> str:
    """Id by which MLflow finds the run of a trained arm, also a run that was published afterwards."""
    folder = storage.result_dir("train", arm)
    return read(folder).run_id or _file_digest(folder / "epochs.jsonl")[:32]  # "": MLflow was not available


def _trained(params: Params) -> list[str]:
    return [arm for arm in params.arms if (storage.result_dir("train", arm) / "run.json").exists()]


def publish(params: Params) -> list[str]:
    """Create the runs of all trained arms from the outputs of train, select and report; return one line per arm.

    Existing runs are completed; nothing is logged twice.

    Raises:
        NoTraining: no arm has been trained.
        TrackingError: MLflow is not available.
    """
    trained = _trained(params)
    if not trained:
        raise NoTraining(
            f"no training run in {storage.result_dir('train')} of the arms {', '.join(params.arms)}; run `dvc repro` "
            "first"
        )
    missing = [f"{arm}: not trained; run `dvc repro train@{arm}`" for arm in params.arms if arm not in trained]
    return [_publish(params, arm) for arm in trained] + missing


def _publish(params: Params, arm: str) -> str:
    from lima import tracking

    folder = storage.result_dir("train", arm)
    description = read(folder)
    steps = list(jsonl.read(folder / "steps.jsonl", StepMetrics))
    epochs = list(jsonl.read(folder / "epochs.jsonl", EpochMetrics))
    values, ends = _history(folder, description, steps)
    ended = values[-1].time if values else description.started
    run = tracking.publish(
        arm,
        description.parameters,
        tags=description.tags,
        identity=identity(arm),
        started=description.started,
        ended=ended,
    )
    _log_inputs(run, arm, description)
    run.history(values)
    unsaved = [epoch for epoch in epochs if not epoch.checkpoint]
    run.history(
        [
            tracking.Value(key, value, epoch.epoch, ends.get(epoch.epoch, ended))
            for epoch in unsaved
            for key, value in epoch_values(epoch).items()
        ]
    )
    for epoch in epochs:
        if epoch.checkpoint:
            log_epoch(run, arm, epoch, time=ends.get(epoch.epoch, ended))
    parts = [f"{len(steps)} steps", f"{len(epochs)} epochs"]
    if (storage.result_dir("select", arm) / "chosen.json").exists():
        _log_selection(run, arm)
        parts.append("selection")
    figures = storage.REPORTS / "metrics.json"
    if figures.exists():
        from lima.reporting.metrics import run_metrics

        measured = json.loads(figures.read_text(encoding="utf-8"))
        if arm in measured["arms"]:
            _log_report(run, arm, run_metrics(params, measured, arm))
            parts.append("report")
    return f"{arm}: {', '.join(parts)}; run {run.id}"


def _history(folder: Path, description: TrainingRun, steps: list[StepMetrics]) -> tuple[list["Value"], dict[int, int]]:
    """Metrics of all steps, and the time at which each epoch ended."""
    from lima.tracking import Value

    speeds = jsonl.read(folder / "speed.jsonl", StepSpeed)
    seconds, values, ends = 0.0, [], {}
    for step, speed in zip(steps, speeds, strict=True):
        seconds += step.seconds
        ends[step.epoch] = at = moment(description, seconds)
        values += [
            Value(key, float(value), step.step, at)
            for key, value in step_values(step, speed).items()
            if value is not None
        ]
    return values, ends


def moment(description: TrainingRun, seconds: float) -> int:
    """Time of a metric, in milliseconds since 1970, after `seconds` of training."""
    return description.started + int(seconds * 1000)


def _log_inputs(run: "Run", arm: str, description: TrainingRun) -> None:
    run.update({f"data/{key}": value for key, value in description.measurements.items()})
    run.datasets(_datasets(arm))
    run.artifact(storage.result_dir("mix", arm) / "train.jsonl")


def _datasets(arm: str) -> Iterator["LoggedDataset"]:
    from lima.tracking import LoggedDataset

    mixed, prompts = storage.result_dir("mix", arm), storage.result_dir("prompts")
    files = {
        f"{arm}/train": mixed / "train.jsonl",
        "held_out": mixed / "held_out.jsonl",
        "test": prompts / "test.jsonl",
    }
    for name, path in files.items():
        if path.exists():
            with path.open("rb") as lines:
                rows = sum(1 for _ in lines)
            yield LoggedDataset(name, path, _file_digest(path), rows, context=path.stem)


def _log_selection(run: "Run", arm: str) -> None:
    trained, selected = storage.result_dir("train", arm), storage.result_dir("select", arm)
    for score in jsonl.read(selected / "scores.jsonl", EpochScore):
        shares = score.model_dump(include={"ended", "win", "tie", "lose", "score"})
        run.checkpoint(score.epoch, trained / score.checkpoint, {f"epoch/dev_{key}": v for key, v in shares.items()})
    [chosen] = jsonl.read(selected / "chosen.json", SelectedCheckpoint)
    run.register(chosen.epoch, Path(chosen.checkpoint), name=f"lima-{arm}", alias=ALIAS)


def _log_report(run: "Run", arm: str, values: Mapping[str, float]) -> None:
    run.update(values)
    for name in ("report.html", "answers.html", "ablations.html", f"cards/{arm}.html"):
        if (storage.REPORTS / name).exists():
            run.artifact(storage.REPORTS / name)


def _asked(params: Params, source: str) -> bool:
    """Whether any arm draws from a source; each arm then has a parameter for it, so that arms can be compared."""
    return any(source in recipe.examples for recipe in params.arms.values())


def _flat(prefix: str, value: BaseModel | None) -> dict[str, object]:
    """Nested settings under dotted keys."""
    rows: dict[str, object] = {}

    def add(key: str, part: object) -> None:
        if isinstance(part, dict):
            for name, inner in part.items():
                add(f"{key}.{name}", inner)
        else:
            rows[key] = part

    add(prefix, _plain(value))
    return rows


def _plain(value: object) -> object:
    """A model, or a mapping of models, as plain JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _output(*command: str) -> str:
    """Output of a command; "" if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words, no shell
    return result.stdout.strip() if result.returncode == 0 else ""
