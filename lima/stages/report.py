"""Tell how good the result is, and how sure that is: `python -m lima.stages.report`."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lima import config, storage
from lima.config import Params
from lima.errors import run_command
from lima.evaluation import attack_rates, attacks, constraint_rates
from lima.evaluation import constraints as rules
from lima.reporting import metrics, report, results, token_counts


@storage.alone("report")
def main() -> None:
    p = config.load()
    figures = write(p)
    from lima import tracking  # imports mlflow: seconds

    for arm in p.arms:
        with tracking.join(results.run_id(arm)) as run:
            run.metrics(metrics.run_metrics(p, figures, arm), step=0)
            run.artifact(storage.REPORTS / "report.html")
    print(
        f"report: {len(figures['arms'])} arms, {len(figures['comparisons'])} comparisons; {storage.REPORTS}/report.html"
    )


def write(p: Params) -> metrics.Metrics:
    """Everything below reports/, and the figures of metrics.json."""
    written = results.read(p)
    found = metrics.Findings(
        results=written,
        measured=metrics.preferences(written.verdicts, p.report),
        attack_rates=attack_rates.attack_rates(attempted(written), confidence=p.report.confidence),
        constraint_rates=constraint_rates.constraint_rates(prescribed(written), confidence=p.report.confidence),
    )
    figures = metrics.metrics(p, found)
    html = report.render(p, found, figures, count=token_counts.counter(storage.result_dir("base", p.train.model)))
    with storage.replacing(storage.REPORTS, storage.WORK / "report") as folder:
        (folder / "report.html").write_text(html, encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        table(folder / "plots" / "epochs.csv", metrics.epoch_rows(written))
        table(folder / "plots" / "preferences.csv", metrics.preference_rows(found.measured))
    return figures


def attempted(found: results.Results) -> dict[str, list[tuple[str, str]]]:
    """Group and outcome of each contestant's answers to the adversarial suite."""
    prompts = {prompt.id: prompt for prompt in found.adversarial}
    return {
        name: [
            (prompts[answer.prompt_id].provenance.site, attacks.outcome(prompts[answer.prompt_id], answer.text))
            for answer in answers
        ]
        for name, answers in found.adversarial_responses.items()
    }


def prescribed(found: results.Results) -> dict[str, list[tuple[str, str | None]]]:
    """Of each contestant's answers to test prompts that prescribe a form: the prompt, and what breaks the form."""
    named = {prompt.id: form for prompt in found.test if (form := rules.constraint_of(prompt))}
    return {
        name: [
            (answer.prompt_id, rules.violation(named[answer.prompt_id], answer.text))
            for answer in answers
            if answer.prompt_id in named
        ]
        for name, answers in found.responses.items()
    }


def table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    run_command(main)
