"""Page of the ablations: means and differences with intervals over prompts and seeds, and conclusions (LIMA §5).

A conclusion about quality rests on people, or without them on the first usable model. Rules and baselines measure form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup
from matplotlib.axes import Axes

from lima.config import Params
from lima.config.entries import RandomModel
from lima.evaluation.ablations import Ablation, Contrast, Level, ablations, levels_of
from lima.reporting import paper, templating
from lima.reporting.conclusions import MOSTLY
from lima.reporting.measures import KINDS, READERS, AnnotatorKind, Evaluations
from lima.reporting.response_form import ResponseForm
from lima.reporting.results import Results, contestants_of
from lima.reporting.svg import FAINT, HUES, INK, WIDTH, drawing, inline

RATING = "rating"
PAIRS = "pairwise"
SHIFT = 0.12  # of the single seeds beside their mean, in distances between two recipes


@dataclass(frozen=True)
class Recipe:
    """A level of an ablation as the page describes it."""

    level: Level
    seeds: tuple[tuple[str, int, int], ...]  # arm, data seed, training seed


@dataclass(frozen=True)
class Shown:
    """One table with its figure."""

    table: Ablation
    kind: AnnotatorKind
    template: str  # name of the prompt template, "" for rules and baselines
    figure: Markup

    @property
    def is_authority(self) -> bool:
        """Whether a conclusion about quality may rest on it."""
        return self.kind in READERS and self.table.usable


@dataclass(frozen=True)
class AxisConclusion:
    axis: str
    claims: tuple[Contrast, ...]  # of the first authority, where a conclusion is drawn
    reason: str  # for drawing no conclusion; "" if one is drawn
    others: tuple[str, ...]  # results of other annotators, and limits
    paper: str  # "" if the paper has no such ablation

    @property
    def is_open(self) -> bool:
        """Whether no conclusion is drawn."""
        return not self.claims

    @property
    def short(self) -> str:
        """The claims without figures, or the reason."""
        return self.reason or " ".join(f"{contrast.claim}." for contrast in self.claims)


@dataclass(frozen=True)
class Axis:
    name: str
    recipes: tuple[Recipe, ...]
    shown: tuple[Shown, ...]  # people first, then models, rules and baselines
    conclusion: AxisConclusion


def axes(p: Params, results: Results, evaluations: Evaluations, forms: Mapping[str, ResponseForm]) -> list[Axis]:
    """The ablations of params.yaml with their tables; those without judgments have none.

    Args:
        forms: form of the responses, by contestant.
    """
    unusable = frozenset(
        (name, annotator)
        for name, by_annotator in evaluations.items()
        for annotator, measured in by_annotator.items()
        if measured.judgments and not measured.usability.usable
    )
    perplexities = {arm: results.chosen_epoch(arm).held_out_perplexity for arm in results.arms}
    tables = ablations(p, results.judgments, unusable=unusable, perplexities=perplexities)
    kinds = {annotator: m.kind for by in evaluations.values() for annotator, m in by.items()}
    found = []
    for number, (name, arms) in enumerate(p.ablations.items()):
        own = sorted((t for t in tables if t.axis == name), key=lambda t: KINDS.index(kinds[t.annotator]))
        shown = tuple(
            Shown(
                table=table,
                kind=kinds[table.annotator],
                template=_template(table) if kinds[table.annotator] in READERS else "",
                figure=_figure(table, f"ablation-{number}-{place}"),
            )
            for place, table in enumerate(own)
        )
        recipes = tuple(_recipe(p, level) for level in levels_of(p, arms, perplexities))
        found.append(Axis(name, recipes, shown, conclude(p, name, shown, forms)))
    return found


def render(p: Params, found: Sequence[Axis]) -> str:
    return templating.render("ablations.html", p=p, axes=found, paper=paper)


def conclude(p: Params, axis: str, shown: Sequence[Shown], forms: Mapping[str, ResponseForm]) -> AxisConclusion:
    """The conclusion about quality of one ablation, with the other measures of people and models."""
    published = paper.ABLATIONS.get(axis, "")
    if isinstance(p.models[p.train.model], RandomModel):
        return AxisConclusion(axis, (), "No conclusion: the base model has random weights.", (), published)
    authorities = [row for row in shown if row.is_authority]
    if not authorities:
        unusable = list(dict.fromkeys(r.table.annotator for r in shown if r.kind in READERS))
        if not shown:
            reason = "No conclusion: no annotator has judged the reference and another recipe."
        elif unusable:
            people = any(r.kind == "people" for r in shown)
            reason = (
                f"No conclusion about quality: {'' if people else 'no person has judged these recipes, and '}"
                f"{' and '.join(unusable)} {'are' if people or len(unusable) > 1 else 'is'} unusable."
            )
        else:
            reason = "No conclusion about quality: no person and no model has judged these recipes."
        others = tuple(f"By rules, about form only: {r.table.sentence}" for r in shown if r.kind == "rules")
        return AxisConclusion(axis, (), reason, others, published)
    first, *rest = authorities
    others = tuple(f"{_measure(row)}: {row.table.sentence}" for row in rest)
    if first.kind != "people":
        others = ("No judgment by people supports this.", *others)
    empty = {level.name: _without_content(p, level, forms) for level in first.table.levels}
    claims, refused = [], []
    for contrast in first.table.contrasts:
        mostly = [name for name in (contrast.level, contrast.reference) if empty[name] > MOSTLY]
        sentences = tuple(
            f"{empty[name]:.0%} of {name}'s answers have no content (empty, repetition or not language)."
            for name in mostly
        )
        pair = f"No conclusion about {contrast.level} and {contrast.reference}"
        if len(mostly) == 2:
            refused.append(f"{pair}: {' '.join(sentences)}")
        elif opposed := _opposed(contrast, authorities):
            refused.append(f"{pair}: the model judges contradict each other ({opposed}).")
        else:
            claims.append(replace(contrast, limits=(*sentences, *contrast.limits)))
    if not claims:
        return AxisConclusion(axis, (), " ".join(refused), others, published)
    return AxisConclusion(axis, tuple(claims), "", (*refused, *others), published)


def _without_content(p: Params, level: Level, forms: Mapping[str, ResponseForm]) -> float:
    """Mean share of the answers without content over the repetitions of a recipe; 0 without answers."""
    shares = [
        forms[name].without_content.value for arm in level.arms for name in contestants_of(p, arm) if name in forms
    ]
    return sum(shares) / len(shares) if shares else 0.0


def _opposed(contrast: Contrast, authorities: Sequence[Shown]) -> str:
    """Verdicts of models that find opposite differences by one measure, without people to decide; "" if none do."""
    first = authorities[0]
    if first.kind == "people":
        return ""
    verdicts = {
        row.table.annotator: other.verdict
        for row in authorities
        if (row.table.task, row.table.template) == (first.table.task, first.table.template)
        for other in row.table.contrasts
        if other.level == contrast.level
    }
    if not {"higher", "lower"} <= set(verdicts.values()):
        return ""
    return ", ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())


def _measure(shown: Shown) -> str:
    template = f", template {shown.template}" if shown.template != shown.table.task else ""
    return f"{shown.table.unit} by {shown.table.annotator}{template}"


def _template(table: Ablation) -> str:
    return table.template.rpartition("/")[2].removesuffix(".md")


def _recipe(p: Params, level: Level) -> Recipe:
    return Recipe(level, tuple((arm, p.data_seed(arm), p.of_arm(arm).train.seed) for arm in level.arms))


def _figure(table: Ablation, name: str) -> Markup:
    """Mean of each recipe with its interval, single seeds beside it; for pairs win − lose against the reference."""
    published = paper.RATINGS_BY_ABLATION.get(table.axis, {}) if table.task == RATING else {}
    widths = (max(len(table.levels), 2), len(published)) if published else (1,)
    with drawing(WIDTH, 2.7) as figure:
        panels = figure.subplots(1, len(widths), squeeze=False, sharey=bool(published), width_ratios=widths)[0]
        _means(panels[0], table)
        panels[0].set_title(f"here: {table.unit}, by {table.annotator}")
        if published:
            panels[1].plot(range(len(published)), list(published.values()), "D", color=HUES[1], markersize=5)
            panels[1].set_xticks(range(len(published)), [label.replace(" ", "\n", 1) for label in published])
            panels[1].set_title("in the paper, 7B")
            for axes in panels:
                axes.set_ylim(1, 6)
        for axes in panels:
            axes.margins(x=0.25)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.spines.left.set_color(FAINT)
        return inline(figure, name, description=f"{table.axis}, {table.unit} by {table.annotator}. {_spoken(table)}")


def _means(axes: Axes, table: Ablation) -> None:
    if table.task == PAIRS:
        axes.axhline(0, color=INK, linewidth=0.6)
    for place, level in enumerate(table.levels):
        value, low, high = _point(table, level)
        if low is not None and high is not None:
            axes.plot([place, place], [low, high], color=HUES[0], linewidth=1.6)
        if value is not None:
            axes.plot([place], [value], "o", color=HUES[0], markersize=5.5)
        seeds = [seed for seed in level.by_seed if seed is not None]
        if len(seeds) > 1:
            axes.plot([place - SHIFT] * len(seeds), seeds, "o", color=INK, markersize=4, markerfacecolor="none")
    labels = [f"{level.name}\n{level.examples:,} examples" for level in table.levels]
    if table.task == PAIRS:
        labels[0] = f"{table.levels[0].name}\nreference"
    axes.set_xticks(range(len(labels)), labels)


def _point(table: Ablation, level: Level) -> tuple[float | None, float | None, float | None]:
    """Value and limits of a recipe; for pairs of its difference from the reference, which is 0 by definition."""
    estimate = level.mean
    if table.task == PAIRS:
        if level is table.levels[0]:
            return 0.0, None, None
        estimate = next(contrast.estimate for contrast in table.contrasts if contrast.level == level.name)
    if estimate is None:
        return None, None, None
    low, high = estimate.interval.low, estimate.interval.high
    return (estimate.value, low, high) if low < high else (estimate.value, None, None)


def _spoken(table: Ablation) -> str:
    parts = []
    for level in table.levels:
        value, low, high = _point(table, level)
        if value is not None:
            parts.append(f"{level.name} {value:.2f}" + (f" ({low:.2f} to {high:.2f})" if low is not None else ""))
    return "; ".join(parts) + "."
