"""Index of a site's comment threads: post owners and commenters, extracted from bytes without parsing (LIMA §2)."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lima.sources.stack_exchange.reader import row_parser, xml_layout

# XML escapes quotation marks within values, so that these patterns match attributes only.
FIELD = {
    name: re.compile(rb'\s%s="(\d{1,18})"' % name.encode())
    for name in ("Id", "PostTypeId", "ParentId", "OwnerUserId", "CommentCount", "PostId", "UserId")
}


class CommentedAnswer(NamedTuple):
    """An answer that has comments."""

    question: int
    owner: int


@dataclass
class CommentIndex:
    """Owners of posts, and which of them commented."""

    answers: dict[int, CommentedAnswer] = field(default_factory=dict)  # by answer id
    askers: dict[int, int] = field(default_factory=dict)  # user id by question id
    spoke: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  # commenters' roles by answer id

    def both_spoke(self) -> set[int]:
        """Ids of the answers below which both the asker and the answerer commented."""
        return {answer for answer, who in self.spoke.items() if who == {"asker", "answerer"}}


def build_index(posts_file: Path, comments_file: Path) -> CommentIndex:
    """Build the index. Rows may be in any order: an answer can precede its question."""
    site = CommentIndex()
    for line in xml_layout.lines(posts_file):
        kind, id_ = number("PostTypeId", line.raw), number("Id", line.raw)
        owner = number("OwnerUserId", line.raw)  # None for system users, whose ids are negative
        if id_ is None or owner is None:
            continue
        if kind == row_parser.QUESTION:
            site.askers[id_] = owner
        elif kind == row_parser.ANSWER and number("CommentCount", line.raw) != 0:
            parent = number("ParentId", line.raw)
            if parent is not None:
                site.answers[id_] = CommentedAnswer(parent, owner)
    for line in xml_layout.lines(comments_file):
        answer, user = number("PostId", line.raw), number("UserId", line.raw)
        parent_answer = None if answer is None else site.answers.get(answer)
        asker = parent_answer and site.askers.get(parent_answer.question)
        if answer is None or parent_answer is None or user is None:
            continue
        if user in (asker, parent_answer.owner):
            site.spoke[answer].add("asker" if user == asker else "answerer")
    return site


def number(name: str, raw: bytes) -> int | None:
    """The value of a numeric attribute; None if it is missing or negative."""
    match = FIELD[name].search(raw)
    return int(match[1]) if match else None
