"""Matplotlib figures as inline SVG: text stays text, colours come from the page's CSS, output is reproducible."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from lima.display import visible

WIDTH = 7.4  # inches; the page scales figures
INK, FAINT, GROUND = "#010101", "#020202", "#030303"
HUES = tuple(f"#0000{number:02x}" for number in range(1, 7))  # of series and outcomes
TINTS = tuple(f"#0002{number:02x}" for number in range(1, 7))  # of secondary series
GREYS = tuple(f"#0001{number:02x}" for number in range(1, 3))
# Placeholder colours: the style sheet gives each a value for light mode, dark mode and print.
CSS_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--rule)",
    GROUND: "var(--ground)",
    **{hue: f"var(--hue-{number})" for number, hue in enumerate(HUES, start=1)},
    **{tint: f"var(--tint-{number})" for number, tint in enumerate(TINTS, start=1)},
    **{grey: f"var(--grey-{number})" for number, grey in enumerate(GREYS, start=1)},
}
STYLE: dict[Any, Any] = {  # matplotlib's keys are a Literal of their own
    "svg.fonttype": "none",
    "text.parse_math": False,  # a site may be called "$\\frac$"
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that text has the same size on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, sizes in inches. Everything drawn inside the block has the page's style."""
    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def inline(figure: Figure, name: str, *, description: str) -> Markup:
    """Render a figure as an <svg> element.

    Args:
        name: unique on the page; prefix of the element's ids.
        description: text for screen readers.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        out = io.StringIO()
        figure.savefig(out, format="svg")
    drawn = out.getvalue()
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\bid="|url\(#|xlink:href="#', lambda match: match[0].replace("xlink:", "") + f"{name}-", drawn)
    drawn = re.sub("|".join(CSS_COLOURS), lambda colour: CSS_COLOURS[colour[0]], drawn)
    drawn = drawn.replace("'DejaVu Sans'", "var(--sans)")
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :].strip()
    box = " ".join(f"{72 * side:g}" for side in figure.get_size_inches())
    head = f'<svg class="figure" viewBox="0 0 {box}" role="img" aria-label="{escape(description)}">'
    return Markup(visible(head + body))  # noqa: S704  # matplotlib escapes text
