"""How an element's content is set as Markdown once it is complete."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

BREAK = "\0"  # <br> among a paragraph's pieces; no text has this character in it
SCRIPT_END = "\1"  # the end of a subscript or power without brackets; no text has this character in it
SPACES = re.compile(r"[ \t\n\r\f\v\xa0]+")
BREAKS = re.compile(r"(?: ?\0)+ ?")
CELLS = ("td", "th")
CODE = ("code", "kbd", "samp", "tt")
SCRIPTS = {"sub": "_", "sup": "^"}
SUBSCRIPTS = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
WITH_SUBSCRIPT = re.compile(r"[0-9+\-−=()]+")
BEFORE_WORD = re.compile(rf"([_^])([^{SCRIPT_END}_^]+){SCRIPT_END}(?=\w)")
ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
PLAIN = r"(?:[^\\]|\\(?!begin\{|end\{))*+"
# Where blanks and line breaks stay as they are. Generous: two prices on one line take no harm.
FORMULA = re.compile(
    r"\$\$(?:[^$\\]|\\.)++\$\$"
    r"|(?<![\\$])\$(?![\s$])(?:[^$\\\n\0]|\\.)++\$"
    r"|\\\[(?:(?!\\[\[\]]).)*+\\\]|\\\((?:(?!\\[()]).)*+\\\)"
    rf"|\\begin\{{\w+\*?\}}{PLAIN}(?:\\begin\{{\w+\*?\}}{PLAIN}\\end\{{\w+\*?\}}{PLAIN})*+\\end\{{\w+\*?\}}",
    re.DOTALL,
)


class MarkdownBlock(NamedTuple):
    text: str
    tag: str


@dataclass(slots=True)
class Frame:
    """An element whose content is being read."""

    tag: str
    language: str = ""  # of a code block
    number: int = 1  # of an ordered list's next item
    blocks: list[MarkdownBlock] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # of the paragraph that is being read
    marks: dict[str, int] = field(default_factory=dict)  # inline elements that are open: the piece each began at

    def mark(self, tag: str) -> None:
        self.marks.setdefault(tag, len(self.pieces))

    def unmark(self, tag: str) -> None:
        """Set the pieces since the inline element began, first those of elements that began in it."""
        if tag not in self.marks:
            return
        begin = self.marks.pop(tag)
        for inner in [name for name, piece in self.marks.items() if piece > begin]:
            self.unmark(inner)
        text = "".join(self.pieces[begin:])
        if tag in SCRIPTS:
            before = next((piece[-1] for piece in reversed(self.pieces[:begin]) if piece), " ")
            in_code = not self.marks.keys().isdisjoint(CODE)
            self.pieces[begin:] = [_script(tag, text, before=before, in_code=in_code)]
        else:
            self.pieces[begin:] = [_inline(tag, text)]

    def end_paragraph(self) -> None:
        for tag in reversed(list(self.marks)):
            self.unmark(tag)
        text = "".join(self.pieces)
        self.pieces.clear()
        if self.tag in CELLS:
            text = text.replace(BREAK, " ")  # a row is one line
        if text and not text.isspace() and (text := _paragraph(text)):
            self.blocks.append(MarkdownBlock(text, "p"))


def _paragraph(text: str) -> str:
    """One blank between words, and lines where <br> broke them; formulas as they were written."""
    if SCRIPT_END in text:
        text = BEFORE_WORD.sub(r"\1(\2)", text).replace(SCRIPT_END, "")
    if "$" in text or "\\" in text:
        pieces, end = [], 0
        for formula in FORMULA.finditer(text):
            pieces += [SPACES.sub(" ", text[end : formula.start()]), formula[0].replace(BREAK, "\n")]
            end = formula.end()
        text = "".join((*pieces, SPACES.sub(" ", text[end:])))
    else:
        text = SPACES.sub(" ", text)
    if BREAK in text:
        text = BREAKS.sub(lambda found: "\n" * min(found[0].count(BREAK), 2), text)
    return text.strip(" \n")


def _inline(tag: str, text: str) -> str:
    if tag == "a":
        return "" if ADDRESS.fullmatch(text.strip()) else text
    words = SPACES.sub(" ", text.replace(BREAK, " ")).strip()
    if not words:
        return ""
    return _code(words)


def _script(tag: str, text: str, *, before: str, in_code: bool) -> str:
    """A subscript or power of what stands before it: "1010₂", "x_i", "10^8"; words of their own are small print.

    In code only a power is set, as it would be typed.
    """
    words = SPACES.sub(" ", text.replace(BREAK, " ").replace(SCRIPT_END, "")).strip()
    if not words or (before.isspace() or before == BREAK) or (tag == "sub" and in_code):
        return text
    if tag == "sub" and WITH_SUBSCRIPT.fullmatch(words):
        return words.translate(SUBSCRIPTS)
    bare = words.isalnum() or len(words) == 1
    return f"{SCRIPTS[tag]}{words}{SCRIPT_END}" if bare else f"{SCRIPTS[tag]}({words})"


def close(frame: Frame, parent: Frame) -> None:
    """Set `frame` as a block of the element around it."""
    if frame.tag == "pre":
        text = _fenced("".join(frame.pieces), frame.language)
    else:
        frame.end_paragraph()
        text = _item(frame, parent) if frame.tag == "li" else _SET.get(frame.tag, _heading)(frame)
    if text or (frame.tag in CELLS and parent.tag in ("tr", "table")):  # an empty cell holds its column's place
        parent.blocks.append(MarkdownBlock(text, frame.tag))


def flow(frame: Frame) -> str:
    return "\n\n".join(block.text for block in frame.blocks if block.text)


def _code(words: str) -> str:
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
