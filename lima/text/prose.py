"""The words an author says in Markdown, without those he only shows: code, quotations, formulas (LIMA §2.1)."""

import re

FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
BLOCK_QUOTE = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
INLINE_CODE = re.compile(r"(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", re.DOTALL)  # within a paragraph
DISPLAY_FORMULA = re.compile(
    r"\$\$.+?\$\$|\\\[.+?\\\]|\\\(.+?\\\)|\\begin\{(?P<name>\w+\*?)\}.+?\\end\{(?P=name)\}", re.DOTALL
)
# "$5 and $6" is money: a formula neither begins with a blank or a digit nor ends before one
FORMULA = re.compile(r"\$(?![\s\d])[^$\n]*?(?<!\s)\$(?!\d)")
QUOTATION = re.compile(r'"[^"\n]*"|“[^”\n]*”|«[^»\n]*»|„[^“”\n]*[“”]')

SHOWN = (FENCE, BLOCK_QUOTE, INLINE_CODE, DISPLAY_FORMULA, FORMULA, QUOTATION)
CODE = (FENCE, INLINE_CODE, DISPLAY_FORMULA, FORMULA)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
INK = re.compile(r"[^\n]")
EMPTY_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
INDENTED = re.compile(r"(?: {4}| {0,3}\t)")  # an indented code block begins so


def said(markdown: str) -> str:
    """The text with a blank for each code block, inline code, quotation and formula; lines stay lines."""
    for pattern in SHOWN:
        markdown = pattern.sub(" ", markdown)
    return markdown


def blanked(markdown: str) -> str:
    """The same with a blank for each of their characters, so that every other one is where it was."""
    for pattern in SHOWN:
        markdown = pattern.sub(lambda found: INK.sub(" ", found[0]), markdown)
    return markdown


def without_code(markdown: str) -> str:
    """The text with code and formulas blank, every other character where it was."""
    for pattern in CODE:
        markdown = pattern.sub(lambda found: INK.sub(" ", found[0]), markdown)
    return markdown


def quotations(markdown: str) -> list[str]:
    """Each line of a block quotation, its sentences apart, and each quotation in a sentence."""
    text = without_code(markdown)
    lines = [line.lstrip("> \t") for line in BLOCK_QUOTE.findall(text)]
    return [*(part for line in lines for part in SENTENCE_END.split(line)), *QUOTATION.findall(text)]


def quoted_share(markdown: str) -> float:
    """Characters in block quotations over all; 0 where there is no text."""
    return sum(map(len, BLOCK_QUOTE.findall(markdown))) / max(len(markdown), 1)


def trimmed(markdown: str) -> str:
    """The text without blanks around it, but with the indentation of a code block that it begins with."""
    text = EMPTY_LINES.sub("", markdown).rstrip()
    return text if INDENTED.match(text) else text.lstrip()
