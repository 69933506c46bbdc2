"""Comparison of two arms: what differs in their recipes, their data and their results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lima import config, jsonl, mlflow_runs, storage
from lima.config import Params
from lima.curation.mixture import Card
from lima.display import visible_line
from lima.errors import LimaError
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.records import EpochMetrics, EpochScore, Example
from lima.reporting.metrics import Metrics, run_metrics
from lima.reporting.results import contestants_of
from lima.text.normalize import comparison_key

MISSING = "–"
WIDTH = 130  # characters


class NotComparable(LimaError):
    """The same arm twice, or an arm without a training set."""


@dataclass(frozen=True)
class Difference:
    """A property with its value in each arm."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Overlap:
    """Training examples of two arms."""

    shared: int  # ids in both
    shared_prompts: int  # normalised first prompts in both
    only_first: int
    only_second: int


@dataclass(frozen=True)
class Evaluated:
    """Result of an evaluation in which at least one of the arms takes part."""

    evaluation: str
    annotator: str
    contestant: str
    rival: str
    net: float | None
    low: float | None
    high: float | None
    usable: int


@dataclass(frozen=True)
class Comparison:
    arms: tuple[str, str]
    trained: tuple[bool, bool]
    recipe: list[Difference]
    data: list[Difference]
    overlap: Overlap
    results: list[Difference]
    evaluations: list[Evaluated]


def compare(params: Params, first: str, second: str) -> Comparison:
    """Compare two arms of params.yaml.

    Recipes are those that the arms were trained with, or those of params.yaml for an arm that is not trained.

    Raises:
        NotComparable: both names are the same, or an arm has no training set.
        ParamsError: an arm is unknown.
    """
    arms = (first, second)
    for arm in arms:
        config.entry(params.arms, "arm", arm)
    if first == second:
        raise NotComparable(f"the same arm twice: {first}; name two of {', '.join(params.arms)}")
    cards, examples = zip(*map(_data, arms), strict=True)
    trained = tuple((storage.result_dir("train", arm) / "run.json").exists() for arm in arms)
    recipes = [
        mlflow_runs.read(storage.result_dir("train", arm)).parameters
        if done
        else mlflow_runs.parameters(params, arm, mlflow_runs.sources_of(rows))
        for arm, done, rows in zip(arms, trained, examples, strict=True)
    ]
    figures = storage.REPORTS / "metrics.json"
    measured = json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else {}
    return Comparison(
        arms=arms,
        trained=(trained[0], trained[1]),
        recipe=differences(*({k: v for k, v in r.items() if not k.startswith("sources.")} for r in recipes)),
        data=differences(*map(_composition, cards)),
        overlap=overlap(*examples),
        results=differences(*(_results(params, arm, measured) for arm in arms)),
        evaluations=list(_evaluations(params, arms, measured)),
    )


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[Difference]:
    """The properties whose values differ, in order; MISSING where an arm lacks one."""
    return [
        Difference(name, first.get(name, MISSING), second.get(name, MISSING))
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    ]


def overlap(first: Sequence[Example], second: Sequence[Example]) -> Overlap:
    """Count shared examples by id, and shared prompts by their normalised text."""
    ids = [{example.id for example in examples} for examples in (first, second)]
    prompts = [{comparison_key(example) for example in examples} for examples in (first, second)]
    return Overlap(
        shared=len(ids[0] & ids[1]),
        shared_prompts=len(prompts[0] & prompts[1]),
        only_first=len(ids[0] - ids[1]),
        only_second=len(ids[1] - ids[0]),
    )


def render(compared: Comparison) -> str:
    """Format a comparison as tables."""
    first, second = compared.arms
    shared = compared.overlap
    out = Console(width=WIDTH)
    with out.capture() as shown:
        for title, rows in (("Recipe", compared.recipe), ("Data", compared.data), ("Result", compared.results)):
            if rows:
                out.print(_table(title, compared.arms, rows))
            else:
                out.print(f"{title}: no difference\n")
            if title == "Data":
                out.print(
                    f"{shared.shared} training examples are in both arms, {shared.only_first} only in {first}, "
                    f"{shared.only_second} only in {second}; {shared.shared_prompts} prompts are the same text\n",
                    markup=False,
                )
        for arm, done in zip(compared.arms, compared.trained, strict=True):
            if not done:
                out.print(f"{arm} is not trained: its recipe is that of params.yaml; run `dvc repro train@{arm}`")
        if compared.evaluations:
            out.print(_evaluation_table(compared.evaluations))
        else:
            out.print(f"no evaluation of {first} or {second} in {storage.REPORTS}/metrics.json; run `dvc repro`")
    return shown.get().rstrip()


def _data(arm: str) -> tuple[Card, list[Example]]:
    folder = storage.result_dir("mix", arm)
    if not (folder / "card.json").exists():
        raise NotComparable(f"arm {arm} has no training set: {folder}; run `dvc repro mix@{arm}`")
    [card] = jsonl.read(folder / "card.json", Card)
    return card, list(jsonl.read(folder / "train.jsonl", Example))


def _composition(card: Card) -> dict[str, str]:
    """Counts of a training set: examples, sources, sites, licenses, dialogues and mean lengths."""
    return {
        "examples": str(card.examples),
        **{f"examples of {source}": str(count) for source, count in card.sources.items()},
        **{f"sites of {name}": str(sum(s.drawn > 0 for s in shares.values())) for name, shares in card.sites.items()},
        **{f"license {license}": str(count) for license, count in card.licenses.items()},
        "dialogues": str(card.dialogues),
        **{f"mean characters of a prompt, {source}": f"{mean:.0f}" for source, mean in card.prompt_chars.items()},
        **{f"mean characters of a response, {source}": f"{mean:.0f}" for source, mean in card.response_chars.items()},
    }


def _results(params: Params, arm: str, measured: Metrics) -> dict[str, str]:
    """Metrics of the selected epoch, and shares of the report; empty without a selection."""
    trained, selected = storage.result_dir("train", arm), storage.result_dir("select", arm)
    if not (selected / "chosen.json").exists():
        return {}
    [chosen] = jsonl.read(selected / "chosen.json", SelectedCheckpoint)
    epoch = next(row for row in jsonl.read(trained / "epochs.jsonl", EpochMetrics) if row.epoch == chosen.epoch)
    score = next(row for row in jsonl.read(selected / "scores.jsonl", EpochScore) if row.epoch == chosen.epoch)
    values = {
        "selected epoch": str(chosen.epoch),
        "train loss": f"{epoch.train_loss:.3f}",
        "held-out perplexity": f"{epoch.held_out_perplexity:.3f}",
        "dev score (win − lose)": f"{score.score:+.3f}",
        "dev responses that end": f"{score.ended:.1%}",
    }
    if arm not in measured.get("arms", {}):
        return values
    figures = run_metrics(params, measured, arm)
    if (ended := figures.get("report.ended")) is not None:
        values["test responses that end"] = f"{ended:.1%}"
    shares = ("score.", "adversarial.", "forms.")  # of evaluations that judge each response by itself
    return values | {name: f"{value:.3f}" for name, value in figures.items() if name.startswith(shares)}


def _evaluations(params: Params, arms: tuple[str, str], measured: Metrics) -> Iterator[Evaluated]:
    """Pairwise evaluations with a checkpoint of one of the arms; direct comparisons of both come first."""
    first, second = (set(contestants_of(params, arm)) for arm in arms)

    def direct(name: str) -> bool:
        sides = {params.evaluations[name].contestant, params.evaluations[name].rival}
        return bool(sides & first and sides & second)

    names = [
        name
        for name in measured.get("evaluations", {})
        if name in params.evaluations and params.evaluations[name].task == "pairwise"
    ]
    for name in sorted(names, key=lambda name: not direct(name)):
        evaluation = params.evaluations[name]
        if {evaluation.contestant, evaluation.rival} & (first | second):
            for annotator, value in measured["evaluations"][name].items():
                yield Evaluated(
                    name,
                    annotator,
                    evaluation.contestant,
                    evaluation.rival,
                    value["net"],
                    value["low"],
                    value["high"],
                    value["usable"],
                )


def _table(title: str, arms: tuple[str, str], rows: Sequence[Difference]) -> Table:
    table = Table("", *arms, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text(visible_line(cell)) for cell in (row.name, row.first, row.second)))
    return table


def _evaluation_table(rows: Sequence[Evaluated]) -> Table:
    columns = ("evaluation", "annotator", "contestant", "rival", "win − lose", "interval", "usable")
    table = Table(*columns, title="Evaluations", title_justify="left")
    for row in rows:
        net = MISSING if row.net is None else f"{row.net:+.3f}"
        interval = MISSING if row.low is None or row.high is None else f"{row.low:+.3f} to {row.high:+.3f}"
        cells = (row.evaluation, row.annotator, row.contestant, row.rival, net, interval, str(row.usable))
        table.add_row(*(Text(visible_line(cell)) for cell in cells))
    return table
