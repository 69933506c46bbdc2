"""What an article of wikiHow says: its opening, its ingredients, and the steps of each method (LIMA §2.1).

The paper cuts "certain sections" without naming them. We keep the opening, the ingredients and the steps, and cut tips,
warnings, things you'll need, questions and answers, quizzes, videos, related articles, references and what a page says
about itself; LIMA's released examples have none of these either. (They have no ingredients: a recipe without is none.)
A warning inside a step stays. The response is a fragment of HTML without attributes, links or images.

The pages of about 2014, of 2020 and of about 2023 differ in what surrounds a step and a method's name, not in what
identifies a section: `div.section.steps`, or in the oldest `div#steps`, and in it lists of steps.
"""

import html
import re
from collections.abc import Collection, Iterator
from typing import Protocol

from lxml import etree

BLOCKS = {"p", "ul", "ol"}
KEPT = {*BLOCKS, "li", "b", "strong", "i", "em", "code", "pre", "br", "sub", "sup"}  # other tags leave their text
SPACED = {"div", "dl", "dt", "dd", "tr", "td", "th", "h4"}  # other tags that part words
LEFT_OUT = {"script", "style", "noscript", "img", "picture", "svg", "video", "iframe", "form", "button"}
LEFT_OUT_CLASSES = {
    *("reference", "ts_popup", "mwimg", "step_num", "stepanchor", "image_details"),  # within a step
    *("wh_ad_inner", "qz_container", "qy_cta"),  # between steps: advertisements, quizzes
    *("editsection", "mw-editsection", "green_box_cta", "adtag"),  # what a user may press
}
# in a method's heading that marks its name by no class
ASIDES = './/*[contains(@class, "altblock") or contains(@class, "method_label") or contains(@class, "edit")]'
NUMBERED = re.compile(r"^(?:Method|Part) (?:\d+|One|Two|Three|Four|Five|Six|Seven)(?: of \w+)?(?:\s*[:–-]\s*|$)")
FRACTION = "frac"  # 1<sup>1</sup>⁄<sub>2</sub>, which is 1 1⁄2 and no power
LEFT_OUT_IDS = {"breadcrumb", "originators", "method_toc", "coauthor_byline", "byline_hover"}  # before the opening


class Node(Protocol):
    """An HTML element of lxml, which has no types."""

    tag: str
    text: str | None
    tail: str | None

    def get(self, name: str, /) -> str | None: ...
    def getparent(self) -> "Node | None": ...
    def iter(self, tag: str, /) -> "Iterator[Node]": ...
    def itertext(self) -> Iterator[str]: ...
    def xpath(self, path: str, /) -> "list[Node]": ...


class NoArticle(ValueError):
    """What a page lacks to be an article."""


def body(page: Node) -> str:
    """As HTML: the opening, the ingredients and the steps; a heading for each method where there is more than one."""
    found = _sections(page, "steps") or page.xpath('//div[@id="steps"]')
    steps = [section for section in found if section.xpath(".//ol | .//ul")]
    if not steps:
        raise NoArticle("it has no steps")
    parts = [block for intro in page.xpath('//*[@id="intro"]') for block in _blocks(intro, BLOCKS)]
    for ingredients in _sections(page, "ingredients"):
        parts += ["<h2>Ingredients</h2>", *_blocks(ingredients, {*BLOCKS, "h3"})]
        if len(steps) == 1:
            parts.append("<h2>Steps</h2>")
    for section in steps:
        if len(steps) > 1 and (name := _headline(section)):
            parts.append(f"<h2>{html.escape(name, quote=False)}</h2>")
        parts += _blocks(section, BLOCKS)
    return "\n".join(parts)


def _sections(page: Node, name: str) -> list[Node]:
    return [div for div in page.iter("div") if {"section", name} <= _classes(div)]


def _headline(section: Node) -> str:
    """The name of a method; what its heading says besides ("Method 1 of 3", "Edit") is cut."""
    heading = next(iter(section.xpath(".//h3")), None)
    if heading is None:
        return ""
    name = next(iter(heading.xpath('.//*[contains(@class, "mw-headline")]')), None)
    text = words(heading) if name is None else words(name)
    for aside in () if name is not None else heading.xpath(ASIDES):
        text = text.replace(words(aside), "", 1).strip()
    return NUMBERED.sub("", text)


def _blocks(root: Node, tags: Collection[str]) -> Iterator[str]:
    """The outermost elements with these tags, in order, that hold any text."""
    walk = etree.iterwalk(root, events=("start",))
    for _, node in walk:
        if _is_left_out(node):
            walk.skip_subtree()
        elif node.tag in tags:
            walk.skip_subtree()
            fragment = _fragment(node)
            if re.sub(r"<[^>]*>", "", fragment).strip():
                yield fragment


def _fragment(root: Node) -> str:
    """The element as HTML of the tags we keep, without attributes; walked, not recursed, so that depth cannot hurt."""
    parts: list[str] = []
    walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, node in walk:
        left_out = event in ("comment", "pi") or _is_left_out(node)
        if not left_out:
            parts.append(_tag(node, closing=event == "end"))
        if event == "start":
            if left_out:
                walk.skip_subtree()
            else:
                parts.append(html.escape(node.text or "", quote=False))
        elif node is not root:
            parts.append(html.escape(node.tail or "", quote=False))
    return re.sub(r"\s+", " ", "".join(parts)).strip()


def _tag(node: Node, *, closing: bool) -> str:
    name = node.tag
    if name == "br":
        return "" if closing else "<br>"
    parent = node.getparent()
    if name in ("sup", "sub") and parent is not None and FRACTION in _classes(parent):
        return " " if name == "sup" and not closing and parent.text else ""
    if name == "h3" or name in KEPT:
        return f"</{name}>" if closing else f"<{name}>"
    return " " if name in SPACED else ""


def _is_left_out(node: Node) -> bool:
    return node.tag in LEFT_OUT or node.get("id") in LEFT_OUT_IDS or not _classes(node).isdisjoint(LEFT_OUT_CLASSES)


def _classes(node: Node) -> set[str]:
    return set((node.get("class") or "").split())


def words(node: Node | None) -> str:
    return "" if node is None else " ".join("".join(node.itertext()).split())
