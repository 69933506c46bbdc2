"""Who owns which post of a Stack Exchange site and who spoke below it, told from bytes alone (LIMA §2)."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lima.sources.stack_exchange import row_parser, xml_layout

# No quotation mark within a value is a plain one, so that these stand for themselves.
FIELD = {
    name: re.compile(rb'\s%s="(\d{1,18})"' % name.encode())
    for name in ("Id", "PostTypeId", "ParentId", "OwnerUserId", "CommentCount", "PostId", "UserId")
}


class Below(NamedTuple):
    """An answer that has comments."""

    question: int
    owner: int


@dataclass
class CommentIndex:
    """What is known of a site's threads from bytes alone."""

    answers: dict[int, Below] = field(default_factory=dict)
    askers: dict[int, int] = field(default_factory=dict)  # by question
    spoke: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  # by answer

    def both_spoke(self) -> set[int]:
        return {answer for answer, who in self.spoke.items() if who == {"asker", "answerer"}}


def survey(posts_file: Path, comments_file: Path) -> CommentIndex:
    """By bytes: rows may come in any order, so that an answer can stand before its question."""
    site = CommentIndex()
    for line in xml_layout.lines(posts_file):
        kind, id_ = number("PostTypeId", line.raw), number("Id", line.raw)
        owner = number("OwnerUserId", line.raw)  # none where the owner is no person: −1, −2
        if id_ is None or owner is None:
            continue
        if kind == row_parser.QUESTION:
            site.askers[id_] = owner
        elif kind == row_parser.ANSWER and number("CommentCount", line.raw) != 0:
            parent = number("ParentId", line.raw)
            if parent is not None:
                site.answers[id_] = Below(parent, owner)
    for line in xml_layout.lines(comments_file):
        answer, user = number("PostId", line.raw), number("UserId", line.raw)
        below = None if answer is None else site.answers.get(answer)
        asker = below and site.askers.get(below.question)
        if answer is None or below is None or user is None:
            continue
        if user in (asker, below.owner):
            site.spoke[answer].add("asker" if user == asker else "answerer")
    return site


def number(name: str, raw: bytes) -> int | None:
    found = FIELD[name].search(raw)
    return int(found[1]) if found else None
