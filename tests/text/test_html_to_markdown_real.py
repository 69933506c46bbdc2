"""About 1,000 real Stack Exchange posts: the Markdown contains all visible text of lxml's tree."""

import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest
from lxml import html as lxml_html
from markdown_it import MarkdownIt

from lima.text.html_to_markdown import to_markdown

SITES = Path(__file__).parents[3] / "shared/realdata/stack_exchange"
DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
WORD = re.compile(r"\w+")
ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
FORMULA = re.compile(r"\$\$.+?\$\$|(?<![\\$\w])\$(?![\s\d$])[^$\n]+?(?<![\s\\])\$(?![\d$])", re.DOTALL)
pytestmark = pytest.mark.skipif(not SITES.exists(), reason="real dumps not available")


@pytest.fixture(scope="module")
def bodies() -> list[str]:
    """Up to 100 posts a site, sampled by the hash of site and id."""
    chosen = []
    for posts in sorted(SITES.glob("*/Posts.xml")):
        rows = {row.get("Id"): row.get("Body") for _, row in ElementTree.iterparse(posts) if row.get("Body")}
        ids = sorted(rows, key=lambda id_: hashlib.sha256(f"{posts.parent.name}/{id_}".encode()).digest())
        chosen += [rows[id_] for id_ in ids[:100]]
    assert len(chosen) > 950
    return chosen


def visible_tree(body: str):
    """lxml's tree without the elements that the converter removes."""
    tree = lxml_html.fragment_fromstring(body, create_parent="div")
    for link in tree.xpath("//a"):
        if ADDRESS.fullmatch(link.text_content().strip()):
            link.drop_tree()
    for removed in tree.xpath("//script | //style | //del | //s | //strike | //comment()"):
        removed.drop_tree()
    return tree


def test_every_word_survives(bodies):
    for body in bodies:
        tree = visible_tree(body)
        for mark in tree.xpath("//sup | //sub | //code"):
            mark.tail = f" {mark.tail or ''}"
            mark.text = f" {mark.text or ''}"
        for block in tree.xpath("//p | //li | //br | //pre | //h1 | //h2 | //h3 | //td | //th | //div | //blockquote"):
            block.tail = f" {block.tail or ''}"
            block.text = f" {block.text or ''}"
        shown = re.sub("[₀-₉]+", lambda digits: f" {digits[0].translate(DIGITS)} ", to_markdown(body)).replace("_", " ")
        missing = Counter(WORD.findall(tree.text_content().replace("_", " "))) - Counter(WORD.findall(shown))
        assert not missing, body


def test_code_is_verbatim_except_for_the_indentation_of_lists_and_quotes(bodies):
    blocks = 0
    for body in bodies:
        markdown = re.sub(r"(?m)^[ \t>]+", "", to_markdown(body))
        for block in visible_tree(body).xpath("//pre"):
            if code := block.text_content().strip("\n"):
                blocks += 1
                assert re.sub(r"(?m)^[ \t>]+", "", code.replace("\r", "")).strip() in markdown
    assert blocks > 50


def test_formulas_are_verbatim(bodies):
    formulas = 0
    for body in bodies:
        tree = visible_tree(body)
        for code in tree.xpath("//pre | //code"):
            code.drop_tree()
        markdown = re.sub(r"(?m)^(?:> ?)+", "", to_markdown(body))
        for formula in FORMULA.finditer(tree.text_content().replace("\r\n", "\n")):
            formulas += 1
            assert " ".join(formula[0].split()) in " ".join(markdown.split())
    assert formulas > 100


def test_lists_parse_with_the_same_nesting(bodies):
    """Text is not escaped, so text that looks like a list item parses as one: such posts are skipped."""
    lists = 0
    for body in bodies:
        tree = visible_tree(body)
        items = [item for item in tree.xpath("//li") if item.text_content().strip()]
        if any(
            re.match(r"\s*(?:\d+[.)]|[-+*])(?:\s|$)", block.text_content())
            for block in tree.xpath("//li | //p | //div")
        ):
            continue
        expected = [sum(outer.tag in ("ul", "ol") for outer in item.iterancestors()) for item in items]
        depth, read = 0, []
        for token in MarkdownIt("commonmark").parse(to_markdown(body)):
            depth += token.nesting if token.type.endswith(("list_open", "list_close")) else 0
            read += [depth] if token.type == "list_item_open" else []
        lists += bool(expected)
        assert read == expected, body
    assert lists > 100
