"""Write the report: metrics with confidence intervals, figures and tables: `python -m lima.stages.report`."""

import csv
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from lima import config, mlflow_runs, storage
from lima.config import Params
from lima.errors import run_command
from lima.evaluation import attack_rates, constraint_rates
from lima.parallel import progress
from lima.records import Judgment, Task
from lima.reporting import (
    ablation_page,
    answer_likelihood,
    data_card,
    format_distance,
    measures,
    metrics,
    plot_scripts,
    prompt_browser,
    report,
    response_form,
    results,
    token_counts,
)
from lima.reporting.dropped_rows import DroppedRows


@storage.alone("report")
def main() -> None:
    params = config.load()
    figures = write(params)
    plot_scripts.write(storage.WORK)
    for arm in params.arms:
        mlflow_runs.log_report(arm, metrics.run_metrics(params, figures, arm))
    print(
        f"report: {len(figures['arms'])} arms, {len(figures['evaluations'])} evaluations; {storage.REPORTS}/report.html"
    )


def write(params: Params) -> metrics.Metrics:
    """Write all files below reports/ and return the content of metrics.json."""
    with progress.phase("report: read the results"):
        written = results.read(params)
    with progress.phase("report: compute figures and intervals"):
        findings = measured(params, written)
        figures = metrics.metrics(params, findings)
        axes = ablation_page.axes(params, written, findings.evaluations, findings.response_forms)
    with progress.phase("report: write the pages"):
        publish(params, findings, figures, axes)
    return figures


def measured(params: Params, written: results.Results) -> metrics.Findings:
    return metrics.Findings(
        results=written,
        evaluations=measures.measure(params, written),
        response_forms={
            name: response_form.measure(responses, confidence=params.report.confidence)
            for name, responses in written.responses.items()
            if responses
        },
        attack_rates=attack_rates.attack_rates(
            attempted(written, params.rule_annotators()), confidence=params.report.confidence
        ),
        constraint_rates=constraint_rates.constraint_rates(
            prescribed(written, params.rule_annotators()), confidence=params.report.confidence
        ),
        likelihoods=answer_likelihood.measure(params, written.likelihoods, confidence=params.report.confidence),
        format_distances=format_distance.measure(params, written),
    )


def publish(
    params: Params, findings: metrics.Findings, figures: metrics.Metrics, axes: list[ablation_page.Axis]
) -> None:
    """Write the pages, metrics.json and the tables for plots."""
    written = findings.results
    count = token_counts.counter(storage.result_dir("base", params.train.model))
    html = report.render(params, findings, figures, axes, count=count)
    browser = prompt_browser.render(
        params, written, findings.evaluations, max_bytes=int(params.report.page_megabytes * 1e6)
    )
    rows = DroppedRows(params.report.card.dropped, seed=params.mix.seed)
    cards = {arm: data_card.render(params, data_card.read(params, arm, rows), count=count) for arm in params.arms}
    with storage.replacing(storage.REPORTS, storage.WORK / "report") as folder:
        (folder / "report.html").write_text(html, encoding="utf-8")
        (folder / "answers.html").write_text(browser, encoding="utf-8")
        (folder / "ablations.html").write_text(ablation_page.render(params, axes), encoding="utf-8")
        (folder / "cards").mkdir()
        for arm, page in cards.items():
            (folder / "cards" / f"{arm}.html").write_text(page, encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        table(folder / "plots" / "epochs.csv", metrics.epoch_rows(written))
        table(folder / "plots" / "preferences.csv", metrics.preference_rows(findings.measured))


def attempted(written: results.Results, rules: Collection[str]) -> dict[str, list[tuple[str, str | None]]]:
    """Group and outcome of each response to the adversarial suite, by contestant."""
    groups = {prompt.id: prompt.provenance.site for prompt in written.adversarial}
    return {
        name: [(groups[judgment.prompt_id], judgment.value) for judgment in judgments]
        for name, judgments in judged_by_rules(written, "attack", rules).items()
    }


def prescribed(written: results.Results, rules: Collection[str]) -> dict[str, list[tuple[str, tuple[str | None, ...]]]]:
    """Prompt id and violations of each response to a test prompt with constraints, by contestant."""
    return {
        name: [
            (judgment.prompt_id, tuple(reply.text if reply.value == "violated" else None for reply in judgment.replies))
            for judgment in judgments
        ]
        for name, judgments in judged_by_rules(written, "constraint", rules).items()
    }


def judged_by_rules(written: results.Results, task: Task, rules: Collection[str]) -> dict[str, list[Judgment]]:
    """Judgments of a task by contestant; of several evaluations the last one with this contestant."""
    by_contestant: dict[str, list[Judgment]] = {}
    for by_annotator in written.judgments.values():
        for judgments in by_annotator.values():
            for name in dict.fromkeys(
                judgment.contestant for judgment in judgments if judgment.task == task and judgment.annotator in rules
            ):
                by_contestant[name] = [judgment for judgment in judgments if judgment.contestant == name]
    return by_contestant


def table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    run_command(main)
