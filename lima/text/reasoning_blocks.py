"""Reasoning blocks that models write before an answer: `<think>…</think>`, also `<thinking>` and `[THINK]`."""

import re
from collections.abc import Iterator

OPEN = re.compile(r"<think(?:ing)?\s*>|\[THINK\]", re.IGNORECASE)
CLOSE = re.compile(r"</think(?:ing)?\s*>|\[/THINK\]", re.IGNORECASE)
QUOTES = ("`", '"', "'")  # before a tag: text about the tag, which opens and closes nothing


def without(text: str) -> str:
    """The text without its reasoning blocks; unchanged where it has none.

    A block that is not closed reaches to the end: the text was cut while the model was reasoning. A block that is
    closed and never opened reaches from the start: some chat templates put the opening tag at the end of the prompt.
    """
    kept, start = [], 0
    while opening := next(_tags(OPEN, text, start), None):
        kept.append(text[start : opening.start()])
        closing = CLOSE.search(text, opening.end())
        start = closing.end() if closing else len(text)
    answer = "".join([*kept, text[start:]])
    unopened = [closing.end() for closing in _tags(CLOSE, answer, 0)]
    answer = answer[unopened[-1] :] if unopened else answer
    return text if answer == text else answer.strip()


def _tags(pattern: re.Pattern[str], text: str, start: int) -> Iterator[re.Match[str]]:
    return (tag for tag in pattern.finditer(text, start) if not text.endswith(QUOTES, 0, tag.start()))
