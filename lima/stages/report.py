"""Write the report: metrics with confidence intervals, figures and tables: `python -m lima.stages.report`."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lima import config, storage
from lima.config import Params
from lima.errors import run_command
from lima.evaluation import attack_rates, attacks, constraint_rates, constraints
from lima.reporting import data_card, metrics, report, results, token_counts
from lima.reporting.dropped_rows import DroppedRows


@storage.alone("report")
def main() -> None:
    params = config.load()
    figures = write(params)
    from lima import tracking  # imports mlflow: seconds

    for arm in params.arms:
        with tracking.join(results.run_id(arm)) as run:
            run.metrics(metrics.run_metrics(params, figures, arm), step=0)
            run.artifact(storage.REPORTS / "report.html")
    print(
        f"report: {len(figures['arms'])} arms, {len(figures['comparisons'])} comparisons; {storage.REPORTS}/report.html"
    )


def write(params: Params) -> metrics.Metrics:
    """Write all files below reports/ and return the content of metrics.json."""
    written = results.read(params)
    findings = metrics.Findings(
        results=written,
        measured=metrics.preferences(written.verdicts, params.report),
        attack_rates=attack_rates.attack_rates(attempted(written), confidence=params.report.confidence),
        constraint_rates=constraint_rates.constraint_rates(prescribed(written), confidence=params.report.confidence),
    )
    figures = metrics.metrics(params, findings)
    count = token_counts.counter(storage.result_dir("base", params.train.model))
    html = report.render(params, findings, figures, count=count)
    rows = DroppedRows(params.report.card.dropped, seed=params.mix.seed)
    cards = {arm: data_card.render(params, data_card.read(params, arm, rows), count=count) for arm in params.arms}
    with storage.replacing(storage.REPORTS, storage.WORK / "report") as folder:
        (folder / "report.html").write_text(html, encoding="utf-8")
        (folder / "cards").mkdir()
        for arm, page in cards.items():
            (folder / "cards" / f"{arm}.html").write_text(page, encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        table(folder / "plots" / "epochs.csv", metrics.epoch_rows(written))
        table(folder / "plots" / "preferences.csv", metrics.preference_rows(findings.measured))
    return figures


def attempted(written: results.Results) -> dict[str, list[tuple[str, str | None]]]:
    """Group and outcome of each response to the adversarial suite, by contestant."""
    prompts = {prompt.id: prompt for prompt in written.adversarial}
    return {
        name: [
            (prompts[answer.prompt_id].provenance.site, attacks.outcome(prompts[answer.prompt_id], answer.text))
            for answer in answers
        ]
        for name, answers in written.adversarial_responses.items()
    }


def prescribed(written: results.Results) -> dict[str, list[tuple[str, tuple[str | None, ...]]]]:
    """Prompt id and violations of each response to a test prompt with constraints, by contestant."""
    constrained = {prompt.id: prompt for prompt in written.test if prompt.constraints}
    return {
        name: [
            (answer.prompt_id, constraints.violations(constrained[answer.prompt_id], answer.text))
            for answer in answers
            if answer.prompt_id in constrained
        ]
        for name, answers in written.responses.items()
    }


def table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    run_command(main)
