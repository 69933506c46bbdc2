"""Summary of a finished run: what was made, where it is, how long it took, and what to do next (`lima summary`)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lima import jsonl, storage
from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant, EndpointContestant
from lima.errors import LimaError
from lima.records import EpochMetrics, Example, Response, StepMetrics

PAGES = {"report": "report.html", "answers": "answers.html", "ablations": "ablations.html"}
MEASURED = ("data", "work", "reports")  # folders whose size is shown


class NoRun(LimaError):
    """Raised if reports/metrics.json does not exist."""


def summarize(params: Params, *, seconds: int | None = None) -> str:
    """Return the summary of the results in the current folder.

    Args:
        seconds: Time that the run took; None if it was not measured.

    Raises:
        NoRun: The report has not been written.
    """
    figures = storage.REPORTS / "metrics.json"
    if not figures.is_file():
        raise NoRun(f"no results yet: {figures} not found; run `dvc repro` (in a clone `make reproduce`) first")
    metrics = json.loads(figures.read_text(encoding="utf-8"))
    sections = {
        "models": [model(arm, metrics["arms"][arm]) for arm in params.arms if arm in metrics["arms"]],
        "answers": list(answers(params)),
        "comparisons": list(comparisons(params, metrics["evaluations"])),
        "files": list(files(params)),
        "disk" if seconds is None else "time, disk": [used(seconds)],
        "next": list(next_steps(params)),
    }
    return "\n".join(f"{title:13}{line}" for name, lines in sections.items() for title, line in _titled(name, lines))


def _titled(name: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        yield ("" if number else name), line


def model(arm: str, figures: Mapping[str, Any]) -> str:
    trained = storage.result_dir("train", arm)
    steps = list(jsonl.read(trained / "steps.jsonl", StepMetrics))
    epochs = list(jsonl.read(trained / "epochs.jsonl", EpochMetrics))
    examples = sum(1 for _ in jsonl.read(storage.result_dir("mix", arm) / "train.jsonl", Example))
    return (
        f"{arm}: {examples:,} examples, {len(steps):,} steps in {duration(sum(step.seconds for step in steps))}, "
        f"loss {epochs[0].train_loss:.2f} → {epochs[-1].train_loss:.2f}, epoch {figures['chosen_epoch']} selected"
    )


def answers(params: Params) -> Iterator[str]:
    counts = {
        name: sum(1 for _ in jsonl.read(storage.responses(name, "test"), Response)) for name in params.contestants
    }
    yield ", ".join(f"{name} {count:,}" for name, count in counts.items()) + " to the test prompts"


def comparisons(params: Params, evaluations: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line for each pairwise evaluation that people or models judged, and one for the others."""
    baselines, open_ = params.baselines(), []
    for name, evaluation in params.evaluations.items():
        if evaluation.task != "pairwise":
            continue
        judged = {key: value for key, value in evaluations.get(name, {}).items() if key not in baselines}
        judged = {key: value for key, value in judged.items() if value["net"] is not None}
        if not judged:
            open_.append(name)
        for annotator, value in judged.items():
            yield (
                f"{name}: net preference of {annotator} for {evaluation.contestant} {value['net']:+.0%} "
                f"({value['low']:+.0%} to {value['high']:+.0%}), {value['usable']} prompts"
            )
    if open_:
        yield f"no conclusion, since no person and no model has judged: {', '.join(open_)}"


def files(params: Params) -> Iterator[str]:
    for name, file in PAGES.items():
        if (storage.REPORTS / file).is_file():
            yield f"{storage.REPORTS / file}  ({name})"
    yield f"{storage.REPORTS / 'cards'}/  (data card of each arm)"
    yield f"{storage.result_dir('mix')}/ARM/train.jsonl, {storage.result_dir('select')}/ARM/  (training sets, models)"


def used(seconds: int | None) -> str:
    sizes = {name: size(Path(name)) for name in MEASURED if Path(name).exists()}
    shown = f"{sum(sizes.values()) / 1e6:,.0f} MB in {', '.join(f'{name}/' for name in sizes)}"
    return shown if seconds is None else f"{duration(seconds)}, {shown}"


def size(folder: Path) -> int:
    """Bytes on disk of the files below a folder; a hard link counts once."""
    states = {(state.st_dev, state.st_ino): state for path in folder.rglob("*") if (state := path.lstat()).st_blocks}
    return sum(state.st_blocks * 512 for state in states.values())


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def next_steps(params: Params) -> Iterator[str]:
    """Commands that use the results; the comment says what each does."""
    local = [
        name
        for kind in (ArmContestant, BaseContestant)
        for name in [key for key, value in params.contestants.items() if isinstance(value, kind)][:1]
    ]
    served = [name for name, value in params.contestants.items() if isinstance(value, EndpointContestant)][:1]
    commands = {f"lima chat {' '.join(local + served)}": "talk to the models, side by side"} if local + served else {}
    commands["lima annotate"] = "judge answers in the browser; then `dvc repro` draws conclusions"
    commands |= {
        f"lima export {arm} --out export": "model and data in Hugging Face format" for arm in [*params.arms][:1]
    }
    if Path("Makefile").is_file():
        commands["make ui"] = "view the runs in Prefect and MLflow"
    width = max(map(len, commands))
    yield from (f"{command:{width}}  # {effect}" for command, effect in commands.items())
