"""Safe rendering of responses as HTML, and systematic sampling of prompts for display (LIMA §4.3)."""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup

from lima.display import visible

Item = TypeVar("Item")


def evenly(items: Sequence[Item], count: int, *, rng: np.random.Generator) -> list[Item]:
    """Systematic sampling: `count` items at equal distance with a random start; every item is equally likely."""
    if count >= len(items):
        return list(items)
    step = len(items) / count
    start = rng.uniform(0, step)
    return [items[min(int(start + number * step), len(items) - 1)] for number in range(count)]


def as_html(text: str) -> Markup:
    """Render untrusted Markdown as HTML. Tags, links and images are shown as plain text."""
    return Markup(_renderer().render(visible(text)))  # noqa: S704  # the renderer escapes HTML


@cache
def _renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.disable(["link", "image", "autolink", "reference"])
    # Headings of a response must not become headings of the report.
    renderer.add_render_rule("heading_open", lambda *_: '<p class="heading">')
    renderer.add_render_rule("heading_close", lambda *_: "</p>\n")
    return renderer
