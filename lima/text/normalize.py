"""Text normalization: when two prompts count as the same text (LIMA §2).

Equal keys keep a prompt from being trained on twice, and from being both trained on and tested.
"""

import re
import unicodedata
from collections.abc import Container, Iterable
from itertools import chain
from typing import NamedTuple, Self

from lima.records import Example, Prompt, first_prompt

WORD = re.compile(r"[^\W_]+")  # the characters for which str.isalnum is true
# for bytes.translate: ASCII letters in lower case, digits, and spaces for all others
ASCII_FOLDED = bytes(ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256))


def normalize(text: str) -> str:
    """Casefolded letters and digits after NFKC, one space between words.

    Text without letters or digits keeps its characters, with whitespace collapsed.
    """
    return " ".join(alphanumeric_words(text) or symbols(text))


def alphanumeric_words(text: str) -> list[str]:
    """The words of letters and digits, after NFKC and case folding."""
    if text.isascii():  # NFKC does not change ASCII
        return text.encode("ascii").translate(ASCII_FOLDED).decode("ascii").split()
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def symbols(text: str) -> list[str]:
    """The parts between white space after NFKC and case folding, which stand for a text without letters and digits."""
    return unicodedata.normalize("NFKC", text).casefold().split()


class TurnWords(NamedTuple):
    """The normalized words of a turn. Normalizing several turns joined by line breaks gives the words of `joined`."""

    role: str
    words: list[str]  # letters and digits; empty if the turn has none
    symbols: list[str]  # only if `words` is empty
    hashes: dict[int, list[int]]  # of the n-grams, by their length in words; see `ngram_hashes`

    @classmethod
    def of_record(cls, record: Example | Prompt) -> list[Self]:
        turns = ((turn.role, turn.content, alphanumeric_words(turn.content)) for turn in record.messages)
        return [cls(role, words, [] if words else symbols(text), {}) for role, text, words in turns]

    def ngram_hashes(self, length: int) -> list[int]:
        """Hashes of all runs of `length` words, computed once. They differ between processes."""
        if length not in self.hashes:
            words = self.words or self.symbols
            self.hashes[length] = [*map(hash, zip(*(words[start:] for start in range(length)), strict=False))]
        return self.hashes[length]

    @staticmethod
    def joined(turns: Iterable["TurnWords"], roles: Container[str]) -> list[str]:
        """The normalized words of the turns of these roles, as of one text."""
        chosen = [turn for turn in turns if turn.role in roles]
        words = list(chain.from_iterable(turn.words for turn in chosen))
        return words or list(chain.from_iterable(turn.symbols for turn in chosen))


def comparison_key(record: Example | Prompt) -> str:
    """The normalized first user turn. Records with equal keys ask the same question."""
    return normalize(first_prompt(record))


def without_duplicates(records: Iterable[Example], *, ids: set[str], keys: set[str]) -> list[Example]:
    """Remove duplicates, keeping the first record of each comparison key.

    Args:
        records: Examples in order of preference.
        ids: Ids to exclude.
        keys: Comparison keys to exclude.
    """
    seen_keys = set(keys)
    unique = []
    for record in records:
        key = comparison_key(record)
        if record.id not in ids and key not in seen_keys:
            seen_keys.add(key)
            unique.append(record)
    return unique
