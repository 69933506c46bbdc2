"""The data card's figures: funnel, sampled sites, length histograms."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lima.display import visible_line
from lima.reporting.composition import Flow, Lengths, Share
from lima.reporting.svg import FAINT, GREYS, GROUND, HUES, INK, WIDTH, drawing, inline

SITES = 30  # the largest sites of a source in the figure; the table has all
COLUMNS = 2  # of small multiples


def funnel(flows: Sequence[Flow]) -> Markup:
    """One funnel per source, with bars on a logarithmic scale and their counts."""
    most = max(math.log10(1 + count) for flow in flows for _, count in flow.steps)
    rows = math.ceil(len(flows) / COLUMNS)
    with drawing(WIDTH, 1.35 * rows + 0.1) as figure:
        grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
        for axes, flow in zip_longest(grid.flat, flows):
            if flow is None:
                axes.set_axis_off()
                continue
            labels, counts = zip(*flow.steps, strict=True)
            places = range(len(labels))
            colours = [GREYS[0]] * (len(labels) - 1) + [HUES[0]]
            axes.barh(places, [math.log10(1 + count) for count in counts], 0.7, color=colours)
            for place, count in zip(places, counts, strict=True):
                axes.text(math.log10(1 + count) + 0.02 * most, place, f"{count:,}", va="center", fontsize=8)
            axes.set_yticks(places, labels, fontsize=8)
            axes.set_xlim(0, 1.28 * most)
            axes.set_title(flow.source)
            _bare(axes)
        values = "; ".join(f"{f.source}: " + ", ".join(f"{label} {count}" for label, count in f.steps) for f in flows)
        return inline(figure, "funnel", description=f"From rows to examples. {values}.")


def sites(source: str, shares: Mapping[str, Share]) -> Markup:
    """Sampled examples of each site (bars) and expected ones under temperature τ (marks); largest sites on top."""
    largest = sorted(shares.items(), key=lambda item: (-item[1].available, item[0]))[:SITES]
    shown = [(visible_line(site), share) for site, share in largest]
    with drawing(WIDTH, 0.9 + 0.21 * len(shown)) as figure:
        axes = figure.subplots()
        places = range(len(shown))
        axes.barh(places, [share.drawn for _, share in shown], 0.66, color=HUES[0], label="drawn", edgecolor=GROUND)
        expected = [share.expected for _, share in shown]
        axes.plot(expected, places, "D", color=HUES[1], markersize=5, label="expected", linestyle="none")
        axes.set_yticks(places, [_cut(f"{site} ({share.available:,})") for site, share in shown], fontsize=8)
        axes.set_xlim(0, 1.06 * max(max(share.drawn, share.expected) for _, share in shown) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("examples")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper right", ncols=2, fontsize=8.5)
        _bare(axes, ticks=True)
        axes.set_title(source)
        values = "; ".join(f"{site}: {share.drawn} drawn, {share.expected:g} expected" for site, share in shown)
        return inline(figure, f"sites-{source}", description=f"Sites of {source}. {values}.")


def lengths(by_source: Mapping[str, Lengths]) -> Markup:
    """Histograms of prompt and response tokens, sources stacked; each bin is √2 times as wide as the one before."""
    with drawing(WIDTH, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        _histogram(left, {name: value.prompts for name, value in by_source.items()}, title="prompts")
        _histogram(right, {name: value.responses for name, value in by_source.items()}, title="responses")
        left.set_ylabel("examples")
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8.5)
        values = "; ".join(
            f"{name}: prompts {min(value.prompts)} to {max(value.prompts)}, responses {min(value.responses)} to "
            f"{max(value.responses)} tokens"
            for name, value in by_source.items()
        )
        return inline(figure, "lengths", description=f"Lengths by source. {values}.")


def _histogram(axes: Axes, tokens: Mapping[str, Sequence[int]], *, title: str) -> None:
    """Empty texts count as one token because of the logarithmic scale."""
    counts = [[max(number, 1) for number in numbers] for numbers in tokens.values()]
    least, most = (math.floor(2 * math.log2(end(map(end, counts)))) for end in (min, max))
    edges = [2 ** (power / 2) for power in range(least, most + 2)]  # exact for whole numbers
    colours = [HUES[place % len(HUES)] for place in range(len(counts))]
    axes.hist(counts, edges, stacked=True, color=colours, label=list(tokens), edgecolor=GROUND, linewidth=0.5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines.left.set_color(FAINT)
    axes.set_title(title)
    axes.set_xlabel("tokens")


def _bare(axes: Axes, *, ticks: bool = False) -> None:
    """Put the first row on top and remove the frame."""
    axes.invert_yaxis()
    axes.tick_params(left=False, bottom=ticks, labelbottom=ticks)
    axes.spines.left.set_color(INK)
    axes.spines.bottom.set_visible(ticks)


def _cut(name: str, most: int = 48) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
