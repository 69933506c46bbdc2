"""Text normalization: when two prompts count as the same text (LIMA §2).

Equal keys keep a prompt from being trained on twice, and from being both trained on and tested.
"""

import unicodedata
from collections.abc import Iterable

from lima.records import Example, Prompt, first_prompt


def normalize(text: str) -> str:
    """Casefolded letters and digits after NFKC, one space between words.

    Text without letters or digits keeps its characters, with whitespace collapsed.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(char if char.isalnum() else " " for char in folded).split()
    return " ".join(words) or " ".join(folded.split())


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
