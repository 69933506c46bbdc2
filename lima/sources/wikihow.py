"""Articles of wikiHow from saved pages: the title, the opening, and the steps of each method (LIMA §2.1).

The paper cuts "certain sections" without naming them. We keep the opening, the ingredients and the steps, and cut tips,
warnings, things you'll need, questions and answers, quizzes, videos, related articles, references and what a page says
about itself; LIMA's released examples have none of these either. (They have no ingredients: a recipe without is none.)
A warning inside a step stays. Each article's response is a fragment of HTML without attributes, links or images.
"""

import html
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from lima.records import Candidate, Dropped, Provenance
from lima.sources.reading import Early, Piece, Tally, bad_row, digest, files

BLOCKS = {"p", "ul", "ol"}
KEPT = {*BLOCKS, "li", "b", "strong", "i", "em", "code", "pre", "br", "sub", "sup"}  # other tags leave their text
SPACED = {"div", "dl", "dt", "dd", "tr", "td", "th", "h4"}  # other tags that part words
LEFT_OUT = {"script", "style", "noscript", "img", "picture", "svg", "video", "iframe", "form", "button"}
LEFT_OUT_CLASSES = {
    *("reference", "ts_popup", "mwimg", "step_num", "stepanchor", "image_details"),  # within a step
    *("wh_ad_inner", "qz_container", "qy_cta"),  # between steps: advertisements, quizzes
}
FRACTION = "frac"  # 1<sup>1</sup>⁄<sub>2</sub>, which is 1 1⁄2 and no power
LEFT_OUT_IDS = {"method_toc", "coauthor_byline", "byline_hover"}  # before the opening


class NoArticle(ValueError):
    """What a page lacks to be an article."""


def read(
    dumps: Path, *, source: str, licence: str, tally: Tally, early: Early | None = None
) -> Iterator[Candidate | Dropped]:
    seen: set[str] = set()
    for path, _ in pieces(dumps):
        place, raw = f"{path}:1", path.read_bytes()
        tally.rows += 1
        try:
            candidate = _article(raw, source=source, licence=licence)
        except NoArticle as error:
            yield bad_row(place, f"no wikiHow article: {error}", raw)
            continue
        tally.questions += 1
        tally.answers += 1
        if candidate.id in seen:
            yield Dropped(reason="duplicate", detail=f"{candidate.id} came before", place=place, raw="")
            continue
        seen.add(candidate.id)
        yield candidate


def pieces(dumps: Path) -> list[Piece]:
    """Each page by itself."""
    return [Piece(path) for path in files(dumps, (".html", ".htm"))]


def _article(raw: bytes, *, source: str, licence: str) -> Candidate:
    page = etree.fromstring(raw, etree.HTMLParser(encoding="utf-8"))
    if page is None:
        raise NoArticle("the file has no element")
    title = _words(next(iter(page.xpath("//h1")), None))
    if not title:
        raise NoArticle("there is no h1 with a title")
    categories = [_words(a) for a in page.xpath('//*[@id="breadcrumb"]//a[contains(@href, "Category:")]')]
    if not any(categories):
        raise NoArticle("there are no breadcrumbs that name its category")
    url = next(iter(page.xpath('//link[@rel="canonical"]/@href | //meta[@property="og:url"]/@content')), "")
    slug = url.rstrip("/").rpartition("/")[2]
    if not slug:
        raise NoArticle("there is no canonical link that tells its address")
    return Candidate(
        id=f"{source}/{categories[0]}/{slug}",
        title=title,
        description="",
        response=_body(page),
        later_turns=(),
        markup="html",
        score=None,
        response_score=None,
        tags=tuple(categories),
        provenance=Provenance(
            source=source,
            site=categories[0],
            id=slug,
            url=url,
            author="wikiHow contributors",
            licence=licence,
            digest=digest(raw),
        ),
    )


def _body(page: Any) -> str:
    """The opening, the ingredients and the steps; a heading for each method where there is more than one."""
    steps = [section for section in _sections(page, "steps") if section.xpath(".//ol | .//ul")]
    if not steps:
        raise NoArticle("it has no steps")
    parts = [block for intro in page.xpath('//*[@id="intro"]') for block in _blocks(intro, BLOCKS)]
    for ingredients in _sections(page, "ingredients"):
        parts += ["<h2>Ingredients</h2>", *_blocks(ingredients, {*BLOCKS, "h3"})]
        if len(steps) == 1:
            parts.append("<h2>Steps</h2>")
    for section in steps:
        if len(steps) > 1:
            parts.append(f"<h2>{html.escape(_headline(section), quote=False)}</h2>")
        parts += _blocks(section, BLOCKS)
    return "\n".join(parts)


def _sections(page: Any, name: str) -> list[Any]:
    return [div for div in page.iter("div") if {"section", name} <= _classes(div)]


def _headline(section: Any) -> str:
    """The name of a method; what its heading says besides ("Method 1 of 3") is cut."""
    return _words(next(iter(section.xpath('.//h3//*[contains(@class, "mw-headline")]')), section.find(".//h3")))


def _blocks(root: Any, tags: Collection[str]) -> Iterator[str]:
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


def _fragment(root: Any) -> str:
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


def _tag(node: Any, *, closing: bool) -> str:
    name = node.tag
    if name == "br":
        return "" if closing else "<br>"
    if name in ("sup", "sub") and node.getparent() is not None and FRACTION in _classes(node.getparent()):
        return " " if name == "sup" and not closing and node.getparent().text else ""
    if name == "h3" or name in KEPT:
        return f"</{name}>" if closing else f"<{name}>"
    return " " if name in SPACED else ""


def _is_left_out(node: Any) -> bool:
    return node.tag in LEFT_OUT or node.get("id") in LEFT_OUT_IDS or not _classes(node).isdisjoint(LEFT_OUT_CLASSES)


def _classes(node: Any) -> set[str]:
    return set((node.get("class") or "").split())


def _words(node: Any) -> str:
    return "" if node is None else " ".join("".join(node.itertext()).split())
