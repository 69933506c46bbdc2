"""What is surely misspelt: words of a list of common mistakes, and small words that come twice in a row.

A word that no dictionary knows is no mistake here, since prompts hold names, dialects and invented words.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import resources

CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
WORD = re.compile(r"(?<!\w)[^\W\d_]+(?:['’][^\W\d_]+)*")
TWICE = re.compile(r"\b(the|a|an|of|to|and|in|is|for|with|on|at|it|be) \1\b", re.IGNORECASE)


@cache
def mistakes() -> Mapping[str, str]:
    """Codespell's list: what is written → what was meant, several words where either may have been."""
    text = resources.files("codespell_lib").joinpath("data", "dictionary.txt").read_text(encoding="utf-8")
    rows = (line.split("->", 1) for line in text.splitlines() if "->" in line)
    return {wrong: right.strip().rstrip(",") for wrong, right in rows}


def faults(text: str, wrong: Mapping[str, str], *, allowed: Collection[str]) -> Iterator[tuple[str, str]]:
    """What stands in the text and what should, outside of code; `allowed` words are right all the same."""
    prose = CODE.sub(" ", text)
    for word in WORD.findall(prose):
        plain = word.casefold()
        if plain in wrong and plain not in allowed:
            yield word, wrong[plain]
    for found in TWICE.finditer(prose):
        if found[0].casefold() not in allowed:
            yield found[0], found[1]
