"""The report's figures: filter funnel, training loss, epochs, preferences."""

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lima.evaluation.pairwise import OUTCOMES
from lima.reporting.metrics import Preferences
from lima.reporting.results import ArmResults, Results
from lima.reporting.svg import FAINT, GREYS, GROUND, HUES, INK, TINTS, WIDTH, drawing, inline

FIRST, SECOND = HUES[0], HUES[1]
OUTCOME_COLOURS = dict(zip(OUTCOMES, (HUES[0], GREYS[0], HUES[1], TINTS[3], GREYS[1], TINTS[5]), strict=True))
LINES = ("-", "--", ":", "-.")  # so that series also differ without colour
Segment = tuple[str, str, list[float]]  # label, colour, share of each row


def funnel(results: Results) -> Markup:
    """Stacked shares of each source's candidates: kept, prompts, dropped by reason; rare reasons are combined."""
    funnels = [source.funnel for source in results.sources.values()]
    total = sum((Counter(funnel.dropped) for funnel in funnels), Counter[str]())
    frequent = [reason for reason, _ in total.most_common(len(TINTS))]
    rest = [sum(n for reason, n in funnel.dropped.items() if reason not in frequent) for funnel in funnels]
    segments = [
        ("kept", FIRST, [funnel.kept for funnel in funnels]),
        ("prompts", SECOND, [funnel.prompts for funnel in funnels]),
        *(
            (f"dropped: {reason}", tint, [funnel.dropped.get(reason, 0) for funnel in funnels])
            for reason, tint in zip(frequent, TINTS, strict=False)
        ),
        ("dropped: other reasons", GREYS[0], rest),
    ]
    shares = [
        (label, colour, [n / max(funnel.offered, 1) for n, funnel in zip(numbers, funnels, strict=True)])
        for label, colour, numbers in segments
        if any(numbers)
    ]
    labels = [f"{funnel.source}\n{funnel.offered:,} offered" for funnel in funnels]
    with drawing(WIDTH, 1.3 + 0.5 * len(funnels)) as figure:
        axes = figure.subplots()
        _stack(axes, labels, shares)
        figure.legend(loc="outside lower center", ncols=2, fontsize=8.5)
        values = "; ".join(f"{f.source}: {f.kept} of {f.offered} kept" for f in funnels)
        return inline(figure, "funnel", description=f"Kept and dropped candidates by source. {values}.")


def loss(results: Results) -> Markup:
    """Training loss of each arm by optimizer step."""
    with drawing(WIDTH, 2.6) as figure:
        axes = figure.subplots()
        for index, (name, arm) in enumerate(results.arms.items()):
            line, hue = LINES[index % len(LINES)], HUES[index % len(HUES)]
            axes.plot([s.step for s in arm.steps], [s.loss for s in arm.steps], line, color=hue, label=name)
        _frame(axes, x="optimizer step", y="loss per supervised token")
        figure.legend(loc="outside upper left", ncols=4)
        ends = "; ".join(
            f"{name} from {arm.steps[0].loss:.2f} to {arm.steps[-1].loss:.2f}" for name, arm in results.arms.items()
        )
        return inline(figure, "loss", description=f"Training loss by step, per supervised token: {ends}.")


def epochs(name: str, arm: ArmResults) -> Markup:
    """Held-out perplexity and dev score by epoch and against each other; in §3 both rise."""
    with drawing(WIDTH, 2.3) as figure:
        left, middle, right = figure.subplots(1, 3)
        numbers = [epoch.epoch for epoch in arm.epochs]
        perplexities = {epoch.epoch: epoch.held_out_perplexity for epoch in arm.epochs}
        scores = {epoch: 100 * score.score for epoch, score in arm.scores.items() if epoch in perplexities}
        left.plot(numbers, list(perplexities.values()), "o-", color=SECOND, markersize=4)
        middle.plot(list(scores), list(scores.values()), "o-", color=FIRST, markersize=4)
        for epoch, score in scores.items():
            filled = INK if epoch == arm.chosen else "none"
            right.plot([perplexities[epoch]], [score], "o", color=INK, markersize=4, markerfacecolor=filled)
            right.annotate(f"{epoch}", (perplexities[epoch], score), (4, 3), textcoords="offset points", fontsize=8)
        left.set_title("held-out perplexity")
        middle.set_title("dev score, points")
        right.set_title("dev score by perplexity")
        for axes in (left, middle):
            _frame(axes, x="epoch", y="")
            axes.axvline(arm.chosen, color=INK, linewidth=0.8, linestyle=":")
            axes.set_xlim(min(numbers) - 0.3, max(numbers) + 0.3)
        _frame(right, x="held-out perplexity", y="")
        right.xaxis.set_major_locator(MaxNLocator(4))
        right.margins(0.2)
        for axes in (middle, right):
            axes.axhline(0, color=INK, linewidth=0.6)
        values = "; ".join(f"epoch {epoch} perplexity {value:.2f}" for epoch, value in perplexities.items())
        return inline(figure, f"epochs-{name}", description=f"{name} by epoch: {values}. Selected: epoch {arm.chosen}.")


def preferences(measured: Preferences) -> Markup:
    """Stacked outcomes, and the net preference with its interval, for each comparison and annotator."""
    rows = [(name, annotator, value) for name, by in measured.items() for annotator, value in by.items()]
    labels = [f"{name}\nby {annotator}" for name, annotator, _ in rows]
    segments = [(o, OUTCOME_COLOURS[o], [value.shares[o] for *_, value in rows]) for o in OUTCOMES]
    with drawing(WIDTH, 1.2 + 0.46 * len(rows)) as figure:
        bars, nets = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        _stack(bars, labels, [segment for segment in segments if any(segment[2])])
        for row, (*_, value) in enumerate(rows):
            if value.net is None or value.interval is None:
                nets.text(0.03, row, "no usable verdicts", va="center", fontsize=8)
                continue
            nets.plot([value.interval.low, value.interval.high], [row, row], color=INK, linewidth=1.4)
            nets.plot([value.net], [row], "o", color=INK, markersize=4.5)
        nets.axvline(0, color=INK, linewidth=0.6)
        nets.set_xlim(-1.05, 1.05)
        nets.set_xticks([-1, -0.5, 0, 0.5, 1], ["−100", "−50", "0", "+50", "+100"])
        nets.tick_params(left=False)
        nets.spines.left.set_visible(False)
        bars.set_title("outcomes")
        nets.set_title("net = win − lose, points")
        figure.legend(loc="outside lower center", ncols=len(OUTCOMES))
        values = "; ".join(
            f"{name} by {annotator}: " + ("no usable verdicts" if value.net is None else f"net {100 * value.net:+.1f}")
            for name, annotator, value in rows
        )
        return inline(figure, "preferences", description=f"Preferences in points. {values}.")


def _stack(axes: Axes, labels: Sequence[str], segments: Sequence[Segment]) -> None:
    """Stacked horizontal bars, the first row on top."""
    left = [0.0] * len(labels)
    for label, colour, shares in segments:
        axes.barh(range(len(labels)), shares, 0.62, left, color=colour, label=label, edgecolor=GROUND, linewidth=0.8)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(left=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.spines.left.set_visible(False)


def _frame(axes: Axes, *, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines.left.set_color(FAINT)
