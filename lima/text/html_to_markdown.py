"""HTML to Markdown conversion: keeps code, lists, quotes, tables, headings and formulas (LIMA §2.1).

As in the examples released with the paper, emphasis is removed, inline code is set in backticks, and a link keeps its
text without the target. A link whose text is a URL is removed, and so is text that is struck through. Superscripts
follow a caret (10^8), numeric subscripts become Unicode subscripts (H₂O, 1010₂), and other subscripts follow an
underscore (x_i). Nothing is escaped: the reader is a model, and formulas must be unchanged.

Time is linear in the length of the input, for any input. The tokenizer follows HTML5 as far as text needs it: quotes
count only after "=", an unclosed tag or comment extends to the end, and the content of scripts is skipped. There is no
tree, so nesting depth is not limited; libxml2 drops elements nested deeper than 2,048.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lima.text import removal_marks

# elements that become a Markdown block of their own; a `_Frame` each while they are open
FRAMES = frozenset("ul ol li blockquote pre table tr td th h1 h2 h3 h4 h5 h6".split())  # noqa: SIM905  words read better
# elements that only separate paragraphs
PARAGRAPHS = frozenset(
    "address article aside body caption center dd details div dl dt fieldset figcaption figure footer form header hr "  # noqa: SIM905
    "html main nav p section summary tbody tfoot thead".split()
)
# elements whose content is skipped
SKIPPED = frozenset(
    "applet audio button canvas del head map math noscript object picture s select strike svg template video".split()  # noqa: SIM905
)
MEDIA = frozenset("applet audio canvas embed iframe img object picture svg video".split())  # noqa: SIM905
VOID = frozenset("area base col embed img input link meta param source track wbr".split())  # noqa: SIM905
INLINE = frozenset(("a", "sub", "sup", "code", "kbd", "samp", "tt"))
CELLS = frozenset(("td", "th"))
# open frames; deeper elements become paragraphs, because each level copies its content once
MAX_DEPTH = 24
LANGUAGE = re.compile(r"(?:^|\s)lang(?:uage)?-([\w+#.-]+)")
LANGUAGE_COMMENT = re.compile(r"\s*language(-all)?:\s*(?:lang(?:uage)?-)?([\w+#.-]+)\s*")
START = re.compile(r"-?\d{1,9}")  # number of an ordered list's first item

# Linear time: each alternative matches wherever it begins, at the latest up to the end of the text, so that nothing is
# scanned twice.
TOKEN = re.compile(
    r"(?P<text>(?:[^<]|<(?![a-z/!?]))[^<]*+(?:<(?![a-z/!?])[^<]*+)*+)"
    r"|<(?P<raw>script|style|textarea|title|xmp|iframe|noembed|noframes)(?![^\s/>]).*?(?:</(?P=raw)(?![^\s/>])[^>]*+|\Z)>?"
    r"|<(?P<tag>[a-z][^\s/>]*+)(?P<attributes>(?:[^>=]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+)>?"
    r"|</(?P<end>[a-z][^\s/>]*+)[^>]*+>?"
    r"|<!--(?P<comment>.*?)(?:-->|\Z)"
    r"|<[^>]*+>?",  # a doctype, a processing instruction, or "</" without a name
    re.DOTALL | re.IGNORECASE,
)
ATTRIBUTE = re.compile(r"(?:^|[\s/\"'])(class|start)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++))", re.IGNORECASE)
LONG_NUMBER = re.compile(r"&#(?:\d{8,}|x[0-9a-f]{8,});?", re.IGNORECASE)  # above the largest code point

# control characters that are removed from all text first
BREAK = "\0"  # <br> within a paragraph
SCRIPT_END = "\1"  # end of a subscript or superscript without brackets
SPACES = re.compile(r"[ \t\n\r\f\v\xa0]+")
BREAKS = re.compile(r"(?: ?\0)+ ?")
CODE = ("code", "kbd", "samp", "tt")
SCRIPTS = {"sub": "_", "sup": "^"}
SUBSCRIPTS = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
WITH_SUBSCRIPT = re.compile(r"[0-9+\-−=()]+")
BEFORE_WORD = re.compile(rf"([_^])([^{SCRIPT_END}_^]+){SCRIPT_END}(?=\w)")
ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
PLAIN = r"(?:[^\\]|\\(?!begin\{|end\{))*+"
# Whitespace in formulas is unchanged. False positives, such as two prices on one line, are harmless.
FORMULA = re.compile(
    r"\$\$(?:[^$\\]|\\.)++\$\$"
    r"|(?<![\\$])\$(?![\s$])(?:[^$\\\n\0]|\\.)++\$"
    r"|\\\[(?:(?!\\[\[\]]).)*+\\\]|\\\((?:(?!\\[()]).)*+\\\)"
    rf"|\\begin\{{\w+\*?\}}{PLAIN}(?:\\begin\{{\w+\*?\}}{PLAIN}\\end\{{\w+\*?\}}{PLAIN})*+\\end\{{\w+\*?\}}",
    re.DOTALL,
)


def to_markdown(source: str) -> str:
    """Convert HTML to Markdown."""
    return _convert(source, marked=False)


def to_marked(source: str) -> str:
    """Convert HTML to Markdown, with `lima.text.removal_marks` at removed links and media. Only filters read it."""
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
            page.mark_media()
    return page.markdown()


class _Block(NamedTuple):
    """A finished Markdown block and the tag it comes from."""

    text: str
    tag: str


@dataclass(slots=True)
class _Frame:
    """An open element and its content so far."""

    tag: str
    language: str = ""  # of a code block
    number: int = 1  # of an ordered list's next item
    blocks: list[_Block] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # of the current paragraph
    open: dict[str, int] = field(default_factory=dict)  # open inline element → index of its first piece

    def open_inline(self, tag: str) -> None:
        self.open.setdefault(tag, len(self.pieces))

    def close_inline(self, tag: str) -> None:
        """Render the inline element's pieces; nested inline elements are closed first."""
        if tag not in self.open:
            return
        begin = self.open.pop(tag)
        for inner in [name for name, piece in self.open.items() if piece > begin]:
            self.close_inline(inner)
        text = "".join(self.pieces[begin:])
        if tag in SCRIPTS:
            before = next((piece[-1] for piece in reversed(self.pieces[:begin]) if piece), " ")
            in_code = not self.open.keys().isdisjoint(CODE)
            self.pieces[begin:] = [_script(tag, text, before=before, in_code=in_code)]
        else:
            self.pieces[begin:] = [_inline(tag, text)]

    def end_paragraph(self) -> None:
        for tag in reversed(list(self.open)):
            self.close_inline(tag)
        text = "".join(self.pieces)
        self.pieces.clear()
        if self.tag in CELLS:
            text = text.replace(BREAK, " ")  # a row is one line
        if text and not text.isspace() and (text := _paragraph(text)):
            self.blocks.append(_Block(text, "p"))


class _Page:
    """The state of a conversion: a stack of open frames, the innermost last."""

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._frames = [_Frame("")]
        self._open: Counter[str] = Counter()  # open frames by tag
        self._too_deep: Counter[str] = Counter()  # open elements below MAX_DEPTH by tag, without a frame
        self._skipped = ""  # tag of the element whose content is being skipped
        self._inside: Counter[str] = Counter()  # elements open in the skipped element, or in a code block, by tag
        self._language, self._default_language = "", ""  # of the next code block; of all code blocks

    def text(self, text: str) -> None:
        if not self._skipped:
            text = _unescaped(text).replace(BREAK, "").replace(SCRIPT_END, "")
            self._frames[-1].pieces.append(text if text.isascii() else removal_marks.removed(text))

    def start(self, tag: str, attributes: str) -> None:
        frame = self._frames[-1]
        if tag in MEDIA:
            self.mark_media()
        if tag in VOID:
            return
        if self._skipped or tag in SKIPPED:
            self._skipped = self._skipped or tag
            self._inside[tag] += 1
        elif frame.tag == "pre":
            self._inside[tag] += tag != "br"
            frame.language = frame.language or _language(attributes)
            if tag == "br":
                frame.pieces.append("\n")
        elif tag in FRAMES:
            self._close_implied(tag)
            self._frames[-1].end_paragraph()
            if len(self._frames) > MAX_DEPTH:
                self._too_deep[tag] += 1
            else:
                self._frames.append(self._new_frame(tag, attributes))
                self._open[tag] += 1
        elif tag in PARAGRAPHS:
            frame.end_paragraph()
            if tag == "hr":
                frame.blocks.append(_Block("---", tag))
        elif tag == "br":
            frame.pieces.append(BREAK)
        elif tag in INLINE:
            self._mark_link(tag, removal_marks.LINK)
            frame.open_inline(tag)

    def end(self, tag: str) -> None:
        frame = self._frames[-1]
        if self._inside and self._inside[tag]:
            self._inside[tag] -= 1
            if tag == self._skipped and not self._inside[tag]:
                self._stop_skipping()
        elif tag in FRAMES:
            self._end_frame(tag)
        elif frame.tag == "pre":
            return
        elif tag in PARAGRAPHS:
            self._stop_skipping()  # a skipped element left unclosed ends with its paragraph
            frame.end_paragraph()
        elif tag in INLINE:
            frame.close_inline(tag)
            self._mark_link(tag, removal_marks.LINK_END)

    def mark_media(self) -> None:
        """Mark a removed image, video or other embedded medium."""
        if self._marked and not self._skipped and self._frames[-1].tag != "pre":
            self._frames[-1].pieces.append(removal_marks.CUT)

    def _mark_link(self, tag: str, mark: str) -> None:
        if self._marked and tag == "a":
            self._frames[-1].pieces.append(mark)

    def comment(self, text: str) -> None:
        """Stack Exchange declares the language of a code block, or of all, in a comment before it."""
        if declaration := LANGUAGE_COMMENT.fullmatch(text):
            self._language = declaration[2]
            if declaration[1]:
                self._default_language = declaration[2]

    def markdown(self) -> str:
        while len(self._frames) > 1:
            self._close()
        self._frames[0].end_paragraph()
        return _flow(self._frames[0])

    def _stop_skipping(self) -> None:
        self._skipped = ""
        self._inside.clear()

    def _end_frame(self, tag: str) -> None:
        if self._too_deep[tag]:
            self._too_deep[tag] -= 1
            self._frames[-1].end_paragraph()
        elif self._open[tag]:
            self._close_until(tag)
            self._close()

    def _close_implied(self, tag: str) -> None:
        """Close the previous item, row or cell, whose end tag is optional in HTML."""
        if tag == "li" and self._frames[-1].tag == "li":
            self._close()
        elif tag in CELLS and self._open["tr"]:
            self._close_until("tr", "table")
        elif tag == "tr" and self._open["table"]:
            self._close_until("table")

    def _close_until(self, *tags: str) -> None:
        while self._frames[-1].tag not in tags:
            self._close()

    def _close(self) -> None:
        frame = self._frames.pop()
        self._open[frame.tag] -= 1
        self._stop_skipping()
        _append_block(frame, self._frames[-1])

    def _new_frame(self, tag: str, attributes: str) -> _Frame:
        if tag == "pre":
            declared = self._language or self._default_language
            self._language = ""
            return _Frame(tag, language=_language(attributes) or declared)
        start = START.fullmatch(_attribute(attributes, "start")) if tag == "ol" else None
        return _Frame(tag, number=int(start[0]) if start else 1)


def _language(attributes: str) -> str:
    """The language in a class such as `lang-py`, or ""."""
    language = LANGUAGE.search(_attribute(attributes, "class")) if attributes else None
    return language[1] if language else ""


def _paragraph(text: str) -> str:
    """Collapse whitespace outside of formulas; <br> becomes a line break."""
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
        text = BREAKS.sub(lambda match: "\n" * min(match[0].count(BREAK), 2), text)
    return text.strip(" \n")


def _inline(tag: str, text: str) -> str:
    if tag == "a":
        return "" if ADDRESS.fullmatch(text.strip()) else text
    words = SPACES.sub(" ", text.replace(BREAK, " ")).strip()
    if not words:
        return ""
    return _code(words)


def _script(tag: str, text: str, *, before: str, in_code: bool) -> str:
    """Render a subscript or superscript: "1010₂", "x_i", "10^8".

    After whitespace it is small print, and its text is unchanged. In code, only superscripts are rendered.
    """
    words = SPACES.sub(" ", text.replace(BREAK, " ").replace(SCRIPT_END, "")).strip()
    if not words or (before.isspace() or before == BREAK) or (tag == "sub" and in_code):
        return text
    if tag == "sub" and WITH_SUBSCRIPT.fullmatch(words):
        return words.translate(SUBSCRIPTS)
    bare = words.isalnum() or len(words) == 1
    return f"{SCRIPTS[tag]}{words}{SCRIPT_END}" if bare else f"{SCRIPTS[tag]}({words})"


def _append_block(frame: _Frame, parent: _Frame) -> None:
    """Render a closed frame as a block of its parent."""
    if frame.tag == "pre":
        text = _fenced("".join(frame.pieces), frame.language)
    else:
        frame.end_paragraph()
        text = _item(frame, parent) if frame.tag == "li" else RENDERERS.get(frame.tag, _heading)(frame)
    if text or (frame.tag in CELLS and parent.tag in ("tr", "table")):  # an empty cell keeps its column
        parent.blocks.append(_Block(text, frame.tag))


def _flow(frame: _Frame) -> str:
    """The frame's blocks, separated by empty lines."""
    return "\n\n".join(block.text for block in frame.blocks if block.text)


def _code(words: str) -> str:
    ticks = "`" * (_longest_run(words) + 1)
    pad = " " if "`" in (words[0], words[-1]) else ""
    return f"{ticks}{pad}{words}{pad}{ticks}"


def _longest_run(text: str) -> int:
    """Length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


def _fenced(code: str, language: str) -> str:
    """A fenced code block, verbatim except for line breaks at the end and the first one, which HTML ignores."""
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
    """A list: loose (empty lines between the items) if any item has several paragraphs, else tight."""
    items = [block.text for block in frame.blocks]
    return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)


def _row(frame: _Frame) -> str:
    """A table row. A row with a multi-line cell is treated as layout: its cells become consecutive blocks."""
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


RENDERERS: Mapping[str, Callable[[_Frame], str]] = {
    "blockquote": _quote,
    "ul": _list,
    "ol": _list,
    "table": _table,
    "tr": _row,
    "td": _flow,
    "th": _flow,
}


def _attribute(attributes: str, name: str) -> str:
    """The value of `class` or `start`; "" if the tag does not have it."""
    for match in ATTRIBUTE.finditer(attributes):
        if match[1].lower() == name:
            return _unescaped(match[2] or match[3] or match[4] or "")
    return ""


def _unescaped(text: str) -> str:
    """Resolve character references; invalid code points become U+FFFD."""
    if "&" not in text:
        return text
    return html.unescape(LONG_NUMBER.sub("\ufffd", text) if "&#" in text else text)
