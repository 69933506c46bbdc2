"""HTML as Markdown: code blocks, lists, quotes, tables and headings stay; links, images and the rest go (LIMA §2.1).

As in the examples that the paper's authors released, emphasis goes, inline code stays in backticks, a link keeps its
words and loses its target, and a link whose words are an address goes whole. Text that is struck through was taken
back, so it goes too. A power keeps its caret (10^8); mathematics between dollars stays as it is.

The parser calls a target as it reads, and builds no tree: libxml2 cuts off trees that are deeper than 2,048 elements.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from lxml import etree

from lima.sources.markdown import BREAK, SPACES, Block, Frame, close, flow, inline_code

FRAMES = frozenset("ul ol li blockquote pre table tr td th h1 h2 h3 h4 h5 h6".split())  # noqa: SIM905  words read better
PARAGRAPHS = frozenset(
    "address article aside body caption center dd details div dl dt fieldset figcaption figure footer form header hr "  # noqa: SIM905
    "html main nav p section summary tbody tfoot thead".split()
)
UNSEEN = frozenset(
    "applet audio button canvas del embed head iframe img input map math noscript object picture s script select "  # noqa: SIM905
    "strike style svg template textarea title video".split()
)
MARKED = frozenset(("a", "sup", "code", "kbd", "samp", "tt"))
ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
LANGUAGE = re.compile(r"(?:^|\s)lang(?:uage)?-([\w+#.-]+)")
LANGUAGE_COMMENT = re.compile(r"\s*language(-all)?:\s*(?:lang(?:uage)?-)?([\w+#.-]+)\s*")
START = re.compile(r"-?\d{1,9}")  # of an ordered list


def to_markdown(html: str) -> str:
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, target=_Target())
    text: str = etree.fromstring(html.encode("utf-8", errors="replace"), parser)
    return text


class _Mark(NamedTuple):
    """Where an inline element began among the paragraph's pieces."""

    tag: str
    piece: int


class _Target:
    """What the parser calls; `close` gives the Markdown."""

    def __init__(self) -> None:
        self._frames = [Frame("")]
        self._marks: list[_Mark] = []
        self._unseen = 0  # elements open, from an unseen one inwards
        self._language, self._language_of_all = "", ""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        frame = self._frames[-1]
        if self._unseen or tag in UNSEEN:
            self._unseen += 1
        elif frame.tag == "pre":
            frame.language = frame.language or _language(attributes.get("class", ""))
            if tag == "br":
                frame.pieces.append("\n")
        elif tag in FRAMES:
            frame.end_paragraph()
            self._frames.append(self._opened(tag, attributes))
        elif tag in PARAGRAPHS:
            frame.end_paragraph()
            if tag == "hr":
                frame.blocks.append(Block("---", tag))
        elif tag == "br":
            frame.pieces.append(BREAK)
        elif tag in MARKED and all(tag != mark.tag for mark in self._marks):
            self._marks.append(_Mark(tag, len(frame.pieces)))

    def end(self, tag: str) -> None:
        frame = self._frames[-1]
        if self._unseen:
            self._unseen -= 1
        elif frame.tag == tag:
            close(self._frames.pop(), self._frames[-1])
        elif frame.tag == "pre":
            return
        elif tag in PARAGRAPHS:
            frame.end_paragraph()
        elif self._marks and self._marks[-1].tag == tag:
            begin = self._marks.pop().piece
            frame.pieces[begin:] = [_inline(tag, "".join(frame.pieces[begin:]))]

    def data(self, text: str) -> None:
        if not self._unseen:
            self._frames[-1].pieces.append(text.replace(BREAK, ""))

    def comment(self, text: str) -> None:
        """Stack Exchange tells a code block's language in a comment before it."""
        if told := LANGUAGE_COMMENT.fullmatch(text):
            self._language = told[2]
            if told[1]:
                self._language_of_all = told[2]

    def close(self) -> str:
        while len(self._frames) > 1:
            close(self._frames.pop(), self._frames[-1])
        self._frames[0].end_paragraph()
        return flow(self._frames[0])

    def _opened(self, tag: str, attributes: Mapping[str, str]) -> Frame:
        if tag == "pre":
            told = self._language or self._language_of_all
            self._language = ""
            return Frame(tag, language=_language(attributes.get("class", "")) or told)
        start = START.fullmatch(attributes.get("start", ""))
        return Frame(tag, number=int(start[0]) if start else 1)


def _language(classes: str) -> str:
    told = LANGUAGE.search(classes)
    return told[1] if told else ""


def _inline(tag: str, text: str) -> str:
    if tag == "a":
        return "" if ADDRESS.fullmatch(text.strip()) else text
    words = SPACES.sub(" ", text.replace(BREAK, " ")).strip()
    if not words:
        return ""
    return f"^{words}" if tag == "sup" else inline_code(words)
