"""HTML as Markdown: code blocks, lists, quotes, tables, headings and formulas stay, the rest goes (LIMA §2.1).

As in the examples that the paper's authors released, emphasis goes, inline code stays in backticks, a link keeps its
words and loses its target, and a link whose words are an address goes whole. Text that is struck through was taken
back, so it goes too. A power keeps its caret (10^8), digits below the line stay there (H₂O, 1010₂), other subscripts
follow a low line (x_i). Nothing is escaped: the reader is a model, and formulas stay as they are.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lima.text import removal_marks

FRAMES = frozenset("ul ol li blockquote pre table tr td th h1 h2 h3 h4 h5 h6".split())  # noqa: SIM905  words read better
PARAGRAPHS = frozenset(
    "address article aside body caption center dd details div dl dt fieldset figcaption figure footer form header hr "  # noqa: SIM905
    "html main nav p section summary tbody tfoot thead".split()
)
UNSEEN = frozenset(
    "applet audio button canvas del head map math noscript object picture s select strike svg template video".split()  # noqa: SIM905
)
MEDIA = frozenset("applet audio canvas embed iframe img object picture svg video".split())  # noqa: SIM905
VOID = frozenset("area base col embed img input link meta param source track wbr".split())  # noqa: SIM905
MARKED = frozenset(("a", "sub", "sup", "code", "kbd", "samp", "tt"))
CELLS = frozenset(("td", "th"))
DEEPEST = 24  # frames in each other; what is further in is set as paragraphs, or it would be copied once a level
LANGUAGE = re.compile(r"(?:^|\s)lang(?:uage)?-([\w+#.-]+)")
LANGUAGE_COMMENT = re.compile(r"\s*language(-all)?:\s*(?:lang(?:uage)?-)?([\w+#.-]+)\s*")
START = re.compile(r"-?\d{1,9}")  # of an ordered list

# Each alternative matches wherever it begins, or the end of the text ends it: nothing is scanned twice.
TOKEN = re.compile(
    r"(?P<text>(?:[^<]|<(?![a-z/!?]))[^<]*+(?:<(?![a-z/!?])[^<]*+)*+)"
    r"|<(?P<raw>script|style|textarea|title|xmp|iframe|noembed|noframes)(?![^\s/>]).*?(?:</(?P=raw)(?![^\s/>])[^>]*+|\Z)>?"
    r"|<(?P<tag>[a-z][^\s/>]*+)(?P<attributes>(?:[^>=]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+)>?"
    r"|</(?P<end>[a-z][^\s/>]*+)[^>]*+>?"
    r"|<!--(?P<comment>.*?)(?:-->|\Z)"
    r"|<[^>]*+>?",  # a doctype, a processing instruction, "</" before what is no name
    re.DOTALL | re.IGNORECASE,
)
ATTRIBUTE = re.compile(r"(?:^|[\s/\"'])(class|start)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++))", re.IGNORECASE)
LONG_NUMBER = re.compile(r"&#(?:\d{8,}|x[0-9a-f]{8,});?", re.IGNORECASE)  # beyond the last character there is

BREAK = "\0"  # <br> among a paragraph's pieces; no text has this character in it
SCRIPT_END = "\1"  # the end of a subscript or power without brackets; no text has this character in it
SPACES = re.compile(r"[ \t\n\r\f\v\xa0]+")
BREAKS = re.compile(r"(?: ?\0)+ ?")
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


def to_markdown(source: str) -> str:
    return _convert(source, marked=False)


def to_marked(source: str) -> str:
    """The Markdown with `lima.text.removal_marks` where links and images were, for rules that ask what was cut."""
    return _convert(source, marked=True)


def _convert(source: str, *, marked: bool) -> str:
    page = _Page(marked=marked)
    if "\r" in source:
        source = source.replace("\r\n", "\n").replace("\r", "\n")
    for token in TOKEN.finditer(source):
        kind = token.lastgroup
        if kind == "text":
            page.text(token[0])
        elif kind == "attributes":
            page.start(token["tag"].lower(), token["attributes"])
        elif kind == "end":
            page.end(token["end"].lower())
        elif kind == "comment":
            page.comment(token["comment"])
        elif kind == "raw" and token["raw"].lower() == "iframe":
            page.cut()
    return page.markdown()


class _Block(NamedTuple):
    text: str
    tag: str


@dataclass(slots=True)
class _Frame:
    """An element whose content is being read."""

    tag: str
    language: str = ""  # of a code block
    number: int = 1  # of an ordered list's next item
    blocks: list[_Block] = field(default_factory=list)
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
            self.blocks.append(_Block(text, "p"))


class _Page:
    """What has been read so far, the innermost open frame last."""

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._frames = [_Frame("")]
        self._open: Counter[str] = Counter()  # frames a tag
        self._too_deep: Counter[str] = Counter()  # elements a tag that got no frame
        self._unseen = ""  # the element in which nothing is read
        self._inside: Counter[str] = Counter()  # elements open in it, or in a code block
        self._language, self._language_of_all = "", ""

    def text(self, text: str) -> None:
        if not self._unseen:
            text = _unescaped(text).replace(BREAK, "").replace(SCRIPT_END, "")
            self._frames[-1].pieces.append(text if text.isascii() else removal_marks.removed(text))

    def start(self, tag: str, attributes: str) -> None:
        frame = self._frames[-1]
        if tag in MEDIA:
            self.cut()
        if tag in VOID:
            return
        if self._unseen or tag in UNSEEN:
            self._unseen = self._unseen or tag
            self._inside[tag] += 1
        elif frame.tag == "pre":
            self._inside[tag] += tag != "br"
            frame.language = frame.language or _language(attributes)
            if tag == "br":
                frame.pieces.append("\n")
        elif tag in FRAMES:
            self._make_room(tag)
            self._frames[-1].end_paragraph()
            if len(self._frames) > DEEPEST:
                self._too_deep[tag] += 1
            else:
                self._frames.append(self._opened(tag, attributes))
                self._open[tag] += 1
        elif tag in PARAGRAPHS:
            frame.end_paragraph()
            if tag == "hr":
                frame.blocks.append(_Block("---", tag))
        elif tag == "br":
            frame.pieces.append(BREAK)
        elif tag in MARKED:
            self._mark_link(tag, removal_marks.LINK)
            frame.mark(tag)

    def end(self, tag: str) -> None:
        frame = self._frames[-1]
        if self._inside and self._inside[tag]:
            self._inside[tag] -= 1
            if tag == self._unseen and not self._inside[tag]:
                self._see()
        elif tag in FRAMES:
            self._end_frame(tag)
        elif frame.tag == "pre":
            return
        elif tag in PARAGRAPHS:
            self._see()  # what is not to be seen was never closed in the paragraph that ends here
            frame.end_paragraph()
        elif tag in MARKED:
            frame.unmark(tag)
            self._mark_link(tag, removal_marks.LINK_END)

    def cut(self) -> None:
        """An image, or whatever else is shown beside the text."""
        if self._marked and not self._unseen and self._frames[-1].tag != "pre":
            self._frames[-1].pieces.append(removal_marks.CUT)

    def _mark_link(self, tag: str, mark: str) -> None:
        if self._marked and tag == "a":
            self._frames[-1].pieces.append(mark)

    def comment(self, text: str) -> None:
        """Stack Exchange tells a code block's language in a comment before it."""
        if told := LANGUAGE_COMMENT.fullmatch(text):
            self._language = told[2]
            if told[1]:
                self._language_of_all = told[2]

    def markdown(self) -> str:
        while len(self._frames) > 1:
            self._close()
        self._frames[0].end_paragraph()
        return _flow(self._frames[0])

    def _see(self) -> None:
        self._unseen = ""
        self._inside.clear()

    def _end_frame(self, tag: str) -> None:
        if self._too_deep[tag]:
            self._too_deep[tag] -= 1
            self._frames[-1].end_paragraph()
        elif self._open[tag]:
            self._leave_until(tag)
            self._close()

    def _make_room(self, tag: str) -> None:
        """An item, a row or a cell ends the one before it, whose end may be left out."""
        if tag == "li" and self._frames[-1].tag == "li":
            self._close()
        elif tag in CELLS and self._open["tr"]:
            self._leave_until("tr", "table")
        elif tag == "tr" and self._open["table"]:
            self._leave_until("table")

    def _leave_until(self, *tags: str) -> None:
        while self._frames[-1].tag not in tags:
            self._close()

    def _close(self) -> None:
        frame = self._frames.pop()
        self._open[frame.tag] -= 1
        self._see()
        _append_block(frame, self._frames[-1])

    def _opened(self, tag: str, attributes: str) -> _Frame:
        if tag == "pre":
            told = self._language or self._language_of_all
            self._language = ""
            return _Frame(tag, language=_language(attributes) or told)
        start = START.fullmatch(_attribute(attributes, "start")) if tag == "ol" else None
        return _Frame(tag, number=int(start[0]) if start else 1)


def _language(attributes: str) -> str:
    told = LANGUAGE.search(_attribute(attributes, "class")) if attributes else None
    return told[1] if told else ""


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


def _append_block(frame: _Frame, parent: _Frame) -> None:
    """Set `frame` as a block of the element around it."""
    if frame.tag == "pre":
        text = _fenced("".join(frame.pieces), frame.language)
    else:
        frame.end_paragraph()
        text = _item(frame, parent) if frame.tag == "li" else _SET.get(frame.tag, _heading)(frame)
    if text or (frame.tag in CELLS and parent.tag in ("tr", "table")):  # an empty cell holds its column's place
        parent.blocks.append(_Block(text, frame.tag))


def _flow(frame: _Frame) -> str:
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


def _heading(frame: _Frame) -> str:
    text = " ".join(_flow(frame).split())
    return f"{'#' * int(frame.tag[1])} {text}" if text else ""


def _quote(frame: _Frame) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in _flow(frame).split("\n")) if frame.blocks else ""


def _item(frame: _Frame, parent: _Frame) -> str:
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


def _list(frame: _Frame) -> str:
    """Items on lines of their own, with empty lines between them where one of them has several paragraphs."""
    items = [block.text for block in frame.blocks]
    return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)


def _row(frame: _Frame) -> str:
    """A line of cells; a row with a cell of several lines is layout, and its cells follow each other."""
    if any("\n" in cell.text for cell in frame.blocks):
        return _flow(frame)
    cells = [cell.text.replace("|", r"\|") for cell in frame.blocks]
    return f"| {' | '.join(cells)} |" if any(cells) else ""


def _table(frame: _Frame) -> str:
    rows = [block.text for block in frame.blocks]
    if not rows or any(block.tag != "tr" or "\n" in block.text for block in frame.blocks):
        return _flow(frame)
    columns = len(re.findall(r"(?<!\\)\|", rows[0])) - 1
    return "\n".join([rows[0], "|" + " --- |" * columns, *rows[1:]])


_SET: Mapping[str, Callable[[_Frame], str]] = {
    "blockquote": _quote,
    "ul": _list,
    "ol": _list,
    "table": _table,
    "tr": _row,
    "td": _flow,
    "th": _flow,
}


def _attribute(attributes: str, name: str) -> str:
    """The value of `class` or `start`; "" where the tag has none."""
    for found in ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return _unescaped(found[2] or found[3] or found[4] or "")
    return ""


def _unescaped(text: str) -> str:
    """The text with its character references resolved; one that stands for no character becomes U+FFFD."""
    if "&" not in text:
        return text
    return html.unescape(LONG_NUMBER.sub("\ufffd", text) if "&#" in text else text)
