"""When two prompts are the same text, so that no prompt is trained on and asked, or counted twice (LIMA §2)."""

import unicodedata
from collections.abc import Iterable

from lima.records import Example, Prompt, first_prompt


def normalize(text: str) -> str:
    """The text's letters and digits in lower case, one space between words; signs alone stay as they are."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(sign if sign.isalnum() else " " for sign in folded).split()
    return " ".join(words) or " ".join(folded.split())


def comparison_key(record: Example | Prompt) -> str:
    """What two records share when they ask the same: their first user turn, normalised."""
    return normalize(first_prompt(record))


def without(records: Iterable[Example], *, ids: set[str], keys: set[str]) -> list[Example]:
    """The records that share neither an id nor a prompt with those given, nor a prompt with one before them."""
    seen = set(keys)
    rest = []
    for record in records:
        text = comparison_key(record)
        if record.id not in ids and text not in seen:
            seen.add(text)
            rest.append(record)
    return rest
