"""Spelling check: common misspellings from codespell's list, and repeated function words.

Words missing from dictionaries are accepted: prompts contain names, dialects and invented words.
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
    """Codespell's list: misspelling → correction, or several corrections separated by commas."""
    text = resources.files("codespell_lib").joinpath("data", "dictionary.txt").read_text(encoding="utf-8")
    rows = (line.split("->", 1) for line in text.splitlines() if "->" in line)
    return {wrong: right.strip().rstrip(",") for wrong, right in rows}


def faults(text: str, wrong: Mapping[str, str], *, allowed: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yields each misspelling outside of code, and its correction.

    Args:
        wrong: Misspelling → correction, casefolded.
        allowed: Casefolded words that are accepted although `wrong` lists them.
    """
    prose = CODE.sub(" ", text)
    for word in WORD.findall(prose):
        plain = word.casefold()
        if plain in wrong and plain not in allowed:
            yield word, wrong[plain]
    for repetition in TWICE.finditer(prose):
        if repetition[0].casefold() not in allowed:
            yield repetition[0], repetition[1]
