"""How an element's content is set as Markdown once it is complete."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

BREAK = "\0"  # <br> among a paragraph's pieces; no text has this character in it
SPACES = re.compile(r"[ \t\n\r\f\v\xa0]+")
CELLS = ("td", "th")


class Block(NamedTuple):
    text: str
    tag: str


@dataclass
class Frame:
    """An element whose content is being read."""

    tag: str
    language: str = ""  # of a code block
    number: int = 1  # of an ordered list's next item
    blocks: list[Block] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # of the paragraph that is being read

    def end_paragraph(self) -> None:
        lines = (SPACES.sub(" ", line).strip() for line in "".join(self.pieces).split(BREAK))
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
        self.pieces.clear()
        if text:
            self.blocks.append(Block(text, "p"))


def close(frame: Frame, parent: Frame) -> None:
    """Set `frame` as a block of the element around it."""
    if frame.tag == "pre":
        text = _fenced("".join(frame.pieces), frame.language)
    else:
        frame.end_paragraph()
        text = _item(frame, parent) if frame.tag == "li" else _SET.get(frame.tag, _heading)(frame)
    if text or frame.tag in CELLS:  # an empty cell holds its column's place
        parent.blocks.append(Block(text, frame.tag))


def flow(frame: Frame) -> str:
    return "\n\n".join(block.text for block in frame.blocks if block.text)


def inline_code(words: str) -> str:
    ticks = "`" * (_longest_run(words) + 1)
    pad = " " if "`" in (words[0], words[-1]) else ""
    return f"{ticks}{pad}{words}{pad}{ticks}"


def _longest_run(text: str) -> int:
    """Of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


def _fenced(code: str, language: str) -> str:
    """Verbatim but for the first line break, which HTML ignores, and those at the end."""
    text = code.removeprefix("\n").rstrip("\n")
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}" if text.strip() else ""


def _heading(frame: Frame) -> str:
    text = " ".join(flow(frame).split())
    return f"{'#' * int(frame.tag[1])} {text}" if text else ""


def _quote(frame: Frame) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in flow(frame).split("\n")) if frame.blocks else ""


def _item(frame: Frame, parent: Frame) -> str:
    text = ""
    for block in frame.blocks:
        gap = "" if not text else "\n" if block.tag in ("ul", "ol") else "\n\n"
        text += gap + block.text
    if not text:
        return ""
    marker = "- "
    if parent.tag == "ol":
        marker, parent.number = f"{parent.number}. ", parent.number + 1
    return marker + re.sub(r"\n(?!\n|$)", "\n" + " " * len(marker), text)


def _list(frame: Frame) -> str:
    """Items on lines of their own, with empty lines between them where one of them has several paragraphs."""
    items = [block.text for block in frame.blocks]
    return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)


def _row(frame: Frame) -> str:
    """A line of cells; a row with a cell of several lines is layout, and its cells follow each other."""
    if any("\n" in cell.text for cell in frame.blocks):
        return flow(frame)
    cells = [cell.text.replace("|", r"\|") for cell in frame.blocks]
    return f"| {' | '.join(cells)} |" if any(cells) else ""


def _table(frame: Frame) -> str:
    rows = [block.text for block in frame.blocks]
    if not rows or any(block.tag != "tr" or "\n" in block.text for block in frame.blocks):
        return flow(frame)
    columns = len(re.findall(r"(?<!\\)\|", rows[0])) - 1
    return "\n".join([rows[0], "|" + " --- |" * columns, *rows[1:]])


_SET: Mapping[str, Callable[[Frame], str]] = {
    "blockquote": _quote,
    "ul": _list,
    "ol": _list,
    "table": _table,
    "tr": _row,
    "td": flow,
    "th": flow,
}
