"""The data card's three figures: where candidates went, how sites were drawn, how long texts are."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lima.display import visible_line
from lima.reporting.composition import Flow, Lengths, Share
from lima.reporting.svg import FAINT, GREYS, GROUND, HUES, INK, WIDTH, drawing, inline

SITES = 30  # of a source in the picture, the largest; the table has all
COLUMNS = 2  # of small pictures side by side


def funnel(flows: Sequence[Flow]) -> Markup:
    """A small funnel a source. Bars are as long as the logarithm of what they count, which stands beside them."""
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
        says = "; ".join(f"{f.source}: " + ", ".join(f"{label} {count}" for label, count in f.steps) for f in flows)
        return inline(figure, "funnel", says=f"From rows to examples. {says}.")


def sites(source: str, shares: Mapping[str, Share]) -> Markup:
    """Examples drawn of each site as bars, and as a mark how many τ leads to expect; the largest sites on top."""
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
        says = "; ".join(f"{site}: {share.drawn} drawn, {share.expected:g} expected" for site, share in shown)
        return inline(figure, f"sites-{source}", says=f"Sites of {source}. {says}.")


def lengths(found: Mapping[str, Lengths]) -> Markup:
    """Tokens of prompts and of responses, the sources stacked; a bin is √2 times as wide as the one before."""
    with drawing(WIDTH, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        _histogram(left, {name: of.prompts for name, of in found.items()}, of="prompts")
        _histogram(right, {name: of.responses for name, of in found.items()}, of="responses")
        left.set_ylabel("examples")
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8.5)
        says = "; ".join(
            f"{name}: prompts {min(of.prompts)} to {max(of.prompts)}, responses {min(of.responses)} to "
            f"{max(of.responses)} tokens"
            for name, of in found.items()
        )
        return inline(figure, "lengths", says=f"Lengths by source. {says}.")


def _histogram(axes: Axes, tokens: Mapping[str, Sequence[int]], *, of: str) -> None:
    """Empty texts count as one token, since a logarithm has no zero."""
    counts = [[max(number, 1) for number in numbers] for numbers in tokens.values()]
    least, most = (math.floor(2 * math.log2(end(map(end, counts)))) for end in (min, max))
    edges = [2 ** (power / 2) for power in range(least, most + 2)]  # exact where it is whole
    colours = [HUES[place % len(HUES)] for place in range(len(counts))]
    axes.hist(counts, edges, stacked=True, color=colours, label=list(tokens), edgecolor=GROUND, linewidth=0.5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines.left.set_color(FAINT)
    axes.set_title(of)
    axes.set_xlabel("tokens")


def _bare(axes: Axes, *, ticks: bool = False) -> None:
    """The first row on top, and no frame."""
    axes.invert_yaxis()
    axes.tick_params(left=False, bottom=ticks, labelbottom=ticks)
    axes.spines.left.set_color(INK)
    axes.spines.bottom.set_visible(ticks)


def _cut(name: str, most: int = 48) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
