"""Positional marks for links and media that HTML conversion removed, read by the filters.

Marks are private-use characters. A converter removes them from its input before it sets any, so that every mark comes
from the converter. Only filters see marked text; examples are written from a conversion without marks.
"""

import re
from typing import NamedTuple

LINK, LINK_END, CUT = "\U0010fff0", "\U0010fff1", "\U0010fff2"
MARK = re.compile(f"[{LINK}{LINK_END}{CUT}]")


class Marked(NamedTuple):
    """A text without its marks, and the positions of the marks in that text."""

    text: str
    links: tuple[
        tuple[int, int], ...
    ]  # start and end of a link's text; equal if the link's text was a URL and was removed
    cuts: tuple[int, ...]  # positions of removed images and videos


def removed(text: str) -> str:
    """The text without marks."""
    return MARK.sub("", text)


def read(marked: str) -> Marked:
    """Separate text and marks. An unclosed link ends with its paragraph."""
    pieces, links, cuts = list[str](), list[tuple[int, int]](), list[int]()
    length, end, begin = 0, 0, -1
    for mark in MARK.finditer(marked):
        piece = marked[end : mark.start()]
        if begin >= 0 and "\n\n" in piece:
            links.append((begin, length + piece.index("\n\n")))
            begin = -1
        pieces.append(piece)
        length += len(piece)
        end = mark.end()
        if mark[0] == CUT:
            cuts.append(length)
        elif mark[0] == LINK:
            begin = length
        elif begin >= 0:
            links.append((begin, length))
            begin = -1
    return Marked("".join((*pieces, marked[end:])), tuple(links), tuple(cuts))
