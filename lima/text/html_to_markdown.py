"""HTML as Markdown: code blocks, lists, quotes, tables, headings and formulas stay, the rest goes (LIMA §2.1).

As in the examples that the paper's authors released, emphasis goes, inline code stays in backticks, a link keeps its
words and loses its target, and a link whose words are an address goes whole. Text that is struck through was taken
back, so it goes too. A power keeps its caret (10^8), digits below the line stay there (H₂O, 1010₂), other subscripts
follow a low line (x_i). Nothing is escaped: the reader is a model, and formulas stay as they are.
"""

import re
from collections import Counter

from lima.text import removal_marks
from lima.text.html_tokens import TOKEN, attribute, unescaped
from lima.text.markdown_blocks import BREAK, SCRIPT_END, Frame, MarkdownBlock, close, flow

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


def to_markdown(html: str) -> str:
    return _read(html, marked=False)


def to_marked(html: str) -> str:
    """The Markdown with `lima.text.removal_marks` where links and images were, for rules that ask what was cut."""
    return _read(html, marked=True)


def _read(html: str, *, marked: bool) -> str:
    page = _Page(marked=marked)
    if "\r" in html:
        html = html.replace("\r\n", "\n").replace("\r", "\n")
    for token in TOKEN.finditer(html):
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


class _Page:
    """What has been read so far, the innermost open frame last."""

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._frames = [Frame("")]
        self._open: Counter[str] = Counter()  # frames a tag
        self._too_deep: Counter[str] = Counter()  # elements a tag that got no frame
        self._unseen = ""  # the element in which nothing is read
        self._inside: Counter[str] = Counter()  # elements open in it, or in a code block
        self._language, self._language_of_all = "", ""

    def text(self, text: str) -> None:
        if not self._unseen:
            text = unescaped(text).replace(BREAK, "").replace(SCRIPT_END, "")
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
                frame.blocks.append(MarkdownBlock("---", tag))
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
        return flow(self._frames[0])

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
        close(frame, self._frames[-1])

    def _opened(self, tag: str, attributes: str) -> Frame:
        if tag == "pre":
            told = self._language or self._language_of_all
            self._language = ""
            return Frame(tag, language=_language(attributes) or told)
        start = START.fullmatch(attribute(attributes, "start")) if tag == "ol" else None
        return Frame(tag, number=int(start[0]) if start else 1)


def _language(attributes: str) -> str:
    told = LANGUAGE.search(attribute(attributes, "class")) if attributes else None
    return told[1] if told else ""
