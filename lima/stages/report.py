"""Tell how good the result is, and how sure that is: `python -m lima.stages.report`."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from lima import params, paths
from lima.analysis import metrics, page, results
from lima.analysis.table1 import Count
from lima.errors import command
from lima.params import Params


def main() -> None:
    p = params.load()
    figures = write(p)
    from lima import tracking  # imports mlflow: seconds

    for arm in p.arms:
        with tracking.join(results.run_id(arm)) as run:
            run.metrics(metrics.of_run(p, figures, arm), step=0)
            run.artifact(paths.REPORTS / "report.html")
    print(
        f"report: {len(figures['arms'])} arms, {len(figures['comparisons'])} comparisons; {paths.REPORTS}/report.html"
    )


def write(p: Params) -> metrics.Metrics:
    """Everything below reports/, and the figures of metrics.json."""
    found = results.read(p)
    measured = metrics.preferences(found.verdicts, p.report)
    figures = metrics.metrics(p, found, measured)
    html = page.render(p, found, measured, figures, count=counter(paths.result("base", p.train.model)))
    with paths.replacing(paths.REPORTS, paths.WORK / "report") as folder:
        (folder / "report.html").write_text(html, encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        table(folder / "plots" / "epochs.csv", metrics.epoch_rows(found))
        table(folder / "plots" / "preferences.csv", metrics.preference_rows(measured))
    return figures


def counter(base: Path) -> Count:
    """Counts tokens as the base model does; without its special ones."""
    path = base / "tokenizer.json"
    if not path.exists():
        raise results.Missing(f"there is no {path}; run `dvc repro base@{base.name}` first")
    tokenizer = Tokenizer.from_file(str(path))

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return count


def table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    command(main)
