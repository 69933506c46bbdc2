"""Lines, words, sentences and code blocks of a response, and the comparison of their number with a constraint's."""

import itertools
import re
from collections.abc import Callable
from typing import Any

from lima.constraint_types import Counted

Rule = Callable[[Any, str], str | None]  # (arguments, response) → the first violation, or None

WORD = re.compile(r"[^\s–—]+")
NEXT_SENTENCE = re.compile(r"(?<!\b[A-Z])(?<!\b(?:Mr|Dr|St))(?<!\bMrs)[.!?][\"')”’]*\s+(?=[A-Z])")
BLOCK = re.compile(r"\A```(\w*)[ \t]*\n(.*?)\n?```\Z", re.DOTALL)  # a response that is one code block
OPENING_FENCE = re.compile(r" {0,3}```([^\s`]*)[^`]*")


def lines(text: str) -> list[str]:
    """Non-empty lines, stripped and without strong emphasis."""
    return [line.replace("**", "").strip() for line in text.splitlines() if line.strip()]


def words(text: str) -> list[str]:
    """Words, separated by spaces or dashes; each has a letter or digit."""
    return [word for word in WORD.findall(text) if re.search(r"\w", word)]


def sentences(line: str) -> list[str]:
    """Sentences of a line; initials and Mr, Mrs, Dr and St do not end one."""
    starts = [0, *(match.end() for match in NEXT_SENTENCE.finditer(line)), len(line)]
    return [line[start:end].strip() for start, end in itertools.pairwise(starts) if line[start:end].strip()]


def paragraphs(text: str) -> list[str]:
    """Blocks between empty lines."""
    return [block.strip() for block in re.split(r"\n[ \t]*\n", text) if block.strip()]


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced code block."""
    blocks: list[tuple[str, str]] = []
    language: str | None = None
    content: list[str] = []
    for line in text.splitlines():
        opening = OPENING_FENCE.fullmatch(line) if language is None else None
        if opening:
            language, content = opening[1], []
        elif language is not None:
            closes = line.rstrip().endswith("```")
            rest = line.rstrip().removesuffix("```") if closes else line
            content += [rest] if rest or not closes else []
            if closes:
                blocks.append((language, "\n".join(content)))
                language = None
    return blocks


def document(text: str) -> str:
    """The file that a response consists of: the content of its only code block, or the whole text."""
    block = BLOCK.fullmatch(text)
    return block[2] if block else text


def wrong_count(number: int, arguments: Counted, name: str) -> str | None:
    """Return the violation if a number of things is not the one of the constraint."""
    if arguments.count is not None:
        return None if number == arguments.count else f"{number} {name}, not {arguments.count}"
    if arguments.min is not None and number < arguments.min:
        return f"{number} {name}, at least {arguments.min}"
    if arguments.max is not None and number > arguments.max:
        return f"{number} {name}, at most {arguments.max}"
    return None
