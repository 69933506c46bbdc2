"""Prose of a Markdown text: the author's own words, without code, quotations and formulas (LIMA §2.1)."""

import re

FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
BLOCK_QUOTE = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
INLINE_CODE = re.compile(r"(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", re.DOTALL)  # within a paragraph
DISPLAY_FORMULA = re.compile(
    r"\$\$.+?\$\$|\\\[.+?\\\]|\\\(.+?\\\)|\\begin\{(?P<name>\w+\*?)\}.+?\\end\{(?P=name)\}", re.DOTALL
)
# Excludes prices such as "$5 and $6": a formula does not start with a space or digit, and no digit follows it
FORMULA = re.compile(r"\$(?![\s\d])[^$\n]*?(?<!\s)\$(?!\d)")
QUOTATION = re.compile(r'"[^"\n]*"|“[^”\n]*”|«[^»\n]*»|„[^“”\n]*[“”]')

NOT_OWN_WORDS = (FENCE, BLOCK_QUOTE, INLINE_CODE, DISPLAY_FORMULA, FORMULA, QUOTATION)
CODE = (FENCE, INLINE_CODE, DISPLAY_FORMULA, FORMULA)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
NOT_NEWLINE = re.compile(r"[^\n]")
EMPTY_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
INDENTED = re.compile(r"(?: {4}| {0,3}\t)")  # start of an indented code block


def own_words(markdown: str) -> str:
    """Replace each code block, inline code, quotation and formula with one space. Other line breaks are unchanged."""
    for pattern in NOT_OWN_WORDS:
        markdown = pattern.sub(" ", markdown)
    return markdown


def own_words_in_place(markdown: str) -> str:
    """Like `own_words`, with one space for each removed character, so that all offsets are unchanged."""
    for pattern in NOT_OWN_WORDS:
        markdown = pattern.sub(lambda match: NOT_NEWLINE.sub(" ", match[0]), markdown)
    return markdown


def without_code(markdown: str) -> str:
    """Replace code and formulas with spaces. All offsets are unchanged."""
    for pattern in CODE:
        markdown = pattern.sub(lambda match: NOT_NEWLINE.sub(" ", match[0]), markdown)
    return markdown


def quotations(markdown: str) -> list[str]:
    """All quoted text: block quotations split into sentences, then quotations within sentences."""
    text = without_code(markdown)
    lines = [line.lstrip("> \t") for line in BLOCK_QUOTE.findall(text)]
    return [*(part for line in lines for part in SENTENCE_END.split(line)), *QUOTATION.findall(text)]


def quoted_share(markdown: str) -> float:
    """Characters in block quotations divided by all characters, in [0, 1]; 0 for an empty text."""
    return sum(map(len, BLOCK_QUOTE.findall(markdown))) / max(len(markdown), 1)


def trimmed(markdown: str) -> str:
    """Strip whitespace from both ends, but keep the indentation of an indented code block at the start."""
    text = EMPTY_LINES.sub("", markdown).rstrip()
    return text if INDENTED.match(text) else text.lstrip()
