"""Answers side by side, as a reader may see them: a model's words are hostile text (LIMA §4.3)."""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup

from lima.display import visible

Item = TypeVar("Item")


def evenly(items: Sequence[Item], count: int, *, rng: np.random.Generator) -> list[Item]:
    """`count` items at one distance from one another, the first at random: each is as likely to be among them."""
    if count >= len(items):
        return list(items)
    step = len(items) / count
    start = rng.uniform(0, step)
    return [items[min(int(start + number * step), len(items) - 1)] for number in range(count)]


def as_html(text: str) -> Markup:
    """Markdown as HTML that holds no tag, no link and no image of the writer's: those stay the characters they are."""
    return Markup(_reader().render(visible(text)))  # noqa: S704  # the reader escapes all that it does not make itself


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["link", "image", "autolink", "reference"])
    # An answer's headings are no headings of the report.
    reader.add_render_rule("heading_open", lambda *_: '<p class="heading">')
    reader.add_render_rule("heading_close", lambda *_: "</p>\n")
    return reader
