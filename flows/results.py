"""Artifacts of the flows: links, progress and ablation tables, as Markdown."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from lima import jsonl, mlflow_runs, storage
from lima.config import Params
from lima.errors import LimaError
from lima.evaluation.ablations import Ablation, Judgments, ablations
from lima.evaluation.statistics import measure_preference
from lima.records import Judgment, ValidationResult

REPORT = Path("reports/report.html")
ABLATIONS = Path("reports/ablations.html")
SHOWN_ROWS = 10  # ids of failed rows that an error repeats, per expectation


class ValidationFailed(LimaError):
    """The training set of an arm failed validation; the message names the rows."""


def raise_if_invalid(arms: Iterable[str], cause: Exception) -> None:
    """Raise ValidationFailed if the error is that the stage `validate` of one of the arms failed.

    Args:
        arms: names of arms.
        cause: the error of `dvc repro`, whose message names the failed stage.
    """
    problems = []
    for arm in arms:
        if f"'validate@{arm}'" not in str(cause):
            continue
        path = storage.result_dir("validate", arm) / "gate.json"
        result = next(jsonl.read(path, ValidationResult), None) if path.exists() else None
        for failure in result.failures if result else ():
            rows = ", ".join(failure.ids[:SHOWN_ROWS]) or "the whole table"
            more = f" and {len(failure.ids) - SHOWN_ROWS} more" if len(failure.ids) > SHOWN_ROWS else ""
            problems.append(f"arm {arm}, {failure.split}: expected {failure.says}; {failure.observed}: {rows}{more}")
    if problems:
        raise ValidationFailed(
            "\n  ".join(["validation failed; correct the rows or the filters and run the flow again:", *problems])
        ) from cause


def links(p: Params) -> str:
    """Markdown list of the report, the data cards, the Data Docs and the MLflow runs that exist."""
    pages = {"report": REPORT, "ablations": ABLATIONS}
    pages |= {f"data card of {arm}": Path("reports/cards") / f"{arm}.html" for arm in p.arms}
    pages |= {f"Data Docs of {arm}": storage.result_dir("validate", arm) / "docs/index.html" for arm in p.arms}
    found = {name: path.resolve().as_uri() for name, path in pages.items() if path.exists()}
    found |= {f"MLflow run of {arm}": address for arm in p.arms if (address := _run_page(arm))}
    return "\n".join(f"- [{name}]({address})" for name, address in found.items())


def _run_page(arm: str) -> str | None:
    from lima import tracking  # imports mlflow: seconds

    folder = storage.result_dir("train", arm)
    return tracking.page(mlflow_runs.identity(arm)) if (folder / "run.json").exists() else None


def progress(states: Mapping[str, str]) -> str:
    """Markdown table of the arms and their states."""
    return "\n".join(["| arm | state |", "| --- | --- |", *(f"| {arm} | {state} |" for arm, state in states.items())])


def read_judgments(p: Params) -> Judgments:
    """Read the judgments that exist, by evaluation and annotator."""
    return {
        name: {
            annotator: list(jsonl.read(path, Judgment))
            for annotator in p.panels[evaluation.panel]
            if (path := storage.result_dir("judge", name) / annotator / "judgments.jsonl").exists()
        }
        for name, evaluation in p.evaluations.items()
    }


def ablation_table(tables: Iterable[Ablation]) -> str:
    """Markdown tables of all ablations, without conclusions: the report, which tests the annotators, draws them."""
    parts = []
    for table in tables:
        parts.append(f"## {table.axis}: {table.unit}, {table.annotator}\n")
        parts.append("| recipe | examples | seeds | mean | difference | interval | smallest detectable |")
        parts.append("| --- | --- | --- | --- | --- | --- | --- |")
        contrasts = {contrast.level: contrast for contrast in table.contrasts}
        for level in table.levels:
            contrast = contrasts.get(level.name)
            estimate = contrast.estimate if contrast else None
            cells = (
                level.name,
                f"{level.examples:,}",
                ", ".join("–" if value is None else f"{value:.2f}" for value in level.by_seed) or "–",
                f"{level.mean.value:.2f}" if level.mean else "–",
                f"{estimate.value:+.2f}" if estimate else "reference" if contrast is None else "–",
                f"{estimate.interval.low:+.2f} to {estimate.interval.high:+.2f}" if estimate else "–",
                f"{contrast.smallest:.2f}" if contrast and contrast.smallest is not None else "–",
            )
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    if not parts:
        return "No ablation has judgments of its reference and of another recipe."
    return "\n".join([*parts, f"Conclusions, and annotators that support none: {ABLATIONS}."])


def evaluation_table(p: Params, evaluations: Iterable[str]) -> str:
    """Markdown table of pairwise evaluations; those with single responses are counted only."""
    judgments = read_judgments(p)
    lines = ["| evaluation | annotator | judgments | win | tie | lose | win − lose | interval |"]
    lines.append("| --- " * 8 + "|")
    for name in evaluations:
        for annotator, rows in judgments[name].items():
            cells = [name, annotator, str(len(rows))]
            if p.evaluations[name].task == "pairwise" and rows:
                rng = np.random.default_rng(p.report.seed)
                measured = measure_preference(
                    rows, confidence=p.report.confidence, resamples=p.report.bootstrap, power=p.report.power, rng=rng
                )
                cells += [f"{measured.shares[outcome]:.0%}" for outcome in ("win", "tie", "lose")]
                if measured.net is not None and measured.interval is not None:
                    cells += [f"{measured.net:+.2f}", f"{measured.interval.low:+.2f} to {measured.interval.high:+.2f}"]
            lines.append(f"| {' | '.join(cells + ['–'] * (8 - len(cells)))} |")
    return "\n".join(lines)


def publish_runs(p: Params) -> None:
    """Publish the MLflow runs that training could not log, because MLflow was not available."""
    from lima import tracking  # imports mlflow: seconds

    try:
        for line in mlflow_runs.publish_unfinished(p):
            get_run_logger().info("MLflow run written from the results: %s", line)
    except tracking.TrackingError as error:
        get_run_logger().warning("%s; then `lima mlflow publish` writes the runs", error)


def publish_ablations(p: Params) -> None:
    if p.ablations:
        create_markdown_artifact(
            ablation_table(ablations(p, read_judgments(p))), key="ablations", description="Ablation tables"
        )


def link_pages(p: Params) -> None:
    create_markdown_artifact(
        links(p) or "No page has been written.", key="pages", description="Report, data cards, MLflow runs"
    )
