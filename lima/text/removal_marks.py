"""Marks that stand in converted text where HTML had a link or an image, until the filters have read it.

They are private-use characters. A converter that sets them removes them from its input first, so that a mark always
comes from the converter. Text with marks is only read: examples are made of the same text converted without them.
"""

import re
from typing import NamedTuple

LINK, LINK_END, CUT = "\U0010fff0", "\U0010fff1", "\U0010fff2"
MARK = re.compile(f"[{LINK}{LINK_END}{CUT}]")


class Marked(NamedTuple):
    """A text without its marks, and where they stood in it."""

    text: str
    links: tuple[tuple[int, int], ...]  # begin and end of a link's words; equal where its words were an address
    cuts: tuple[int, ...]  # where an image or a video stood


def removed(text: str) -> str:
    return MARK.sub("", text)


def read(marked: str) -> Marked:
    """A link that is never closed ends with its paragraph."""
    pieces, links, cuts = list[str](), list[tuple[int, int]](), list[int]()
    length, end, begin = 0, 0, -1
    for found in MARK.finditer(marked):
        piece = marked[end : found.start()]
        if begin >= 0 and "\n\n" in piece:
            links.append((begin, length + piece.index("\n\n")))
            begin = -1
        pieces.append(piece)
        length += len(piece)
        end = found.end()
        if found[0] == CUT:
            cuts.append(length)
        elif found[0] == LINK:
            begin = length
        elif begin >= 0:
            links.append((begin, length))
            begin = -1
    return Marked("".join((*pieces, marked[end:])), tuple(links), tuple(cuts))
