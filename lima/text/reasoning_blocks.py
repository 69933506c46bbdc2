"""Removal of reasoning blocks that models write before an answer: `<think>…</think>`, `<thinking>`, `[THINK]`."""

import re
from collections.abc import Iterator

OPEN = re.compile(r"<think(?:ing)?\s*>|\[THINK\]", re.IGNORECASE)
CLOSE = re.compile(r"</think(?:ing)?\s*>|\[/THINK\]", re.IGNORECASE)
QUOTES = ("`", '"', "'")  # a quoted tag is text about the tag and is ignored


def without(text: str) -> str:
    """Remove reasoning blocks; a text without any is returned unchanged.

    An unclosed block extends to the end: generation stopped during reasoning. A closing tag without an opening tag ends
    a block that extends from the start: some chat templates put the opening tag at the end of the prompt.
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
