"""Prompts and examples written by the project's two groups of authors, in JSONL of our own (LIMA §2.2).

A line is an `Authored`. Group A writes training examples, which end with the assistant, and dev prompts, which end with
the user; group B writes test prompts and scripted dialogues, which contain the user's turns only.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lima.records import Candidate, Dropped, Provenance, Record
from lima.sources import hand_written
from lima.sources.base import Prefilter, ReadStats, digest
from lima.sources.hand_written import pieces

__all__ = ["DRAFT", "MARKS", "Authored", "Origin", "pieces", "read"]

MARKS = ("format", "dialogue")  # notes that become tags, by which an arm can leave examples out (appendix E, §6)
# how the note of a sensitive test prompt begins → the tag by which rates are reported, as in the paper (§4.3)
INTENTS = {"open ill intent;": "open", "implicit intent;": "implicit", "delicate;": "delicate"}
SCRIPT = "script"  # kind of a scripted dialogue
DRAFT = "draft:"  # how the note of a line begins that nobody has edited yet


class Origin(Record):
    """Whose words a line is made of, where they are not the authors' own."""

    url: str
    author: str
    license: str
    digest: str  # SHA-256 of the raw records, hexadecimal


class Authored(hand_written.Written):
    """One line of an authored file."""

    group: Literal["A", "B"]
    topic: str = Field(min_length=1)
    kind: str = Field(min_length=1)  # what is asked for: explain, plan, advice, creative, list, compare, code, …
    sensitive: bool  # a prompt with some toxicity or malevolence
    note: str  # of a sensitive prompt, what a safe answer does; else one of MARKS, or ""
    origin: Origin | None = None

    @model_validator(mode="after")
    def is_a_dialogue(self) -> Self:
        for number, turn in enumerate(self.messages):
            due = "assistant" if number % 2 and self.kind != SCRIPT else "user"
            if turn.role != due:
                raise ValueError(f"message {number + 1} is the {turn.role}'s; it is the {due}'s turn")
            if not turn.content.strip():
                raise ValueError(f"message {number + 1} has no text")
        if self.group == "A" and self.kind == SCRIPT:
            raise ValueError("group A writes no scripts; set the group to B")
        if self.group == "B" and self.messages[-1].role == "assistant":
            raise ValueError("group B writes test prompts, which end with the user")
        return self


def read(
    dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    for found in hand_written.rows(dumps, Authored, tally=tally):
        if isinstance(found, Dropped):
            yield found
            continue
        place, row, line = found
        if row.note.startswith(DRAFT):
            detail = f"{row.id}: edit it, then empty its note, or write another one"
            yield Dropped(reason="draft", detail=detail, place=place, raw="")
            continue
        tally.questions += 1
        tally.answers += len(row.messages) > 1
        yield _candidate(row, source=source, license=license, digest_=digest(line))


def _candidate(row: Authored, *, source: str, license: str, digest_: str) -> Candidate:
    intent = next((name for prefix, name in INTENTS.items() if row.note.startswith(prefix)), None)
    sensitive = ("sensitive", *([f"intent:{intent}"] if intent else [])) if row.sensitive else ()
    mark = (row.note,) if row.note in MARKS else ()
    by = f"group {row.group}"
    origin = row.origin or Origin(url="", author="", license=license, digest=digest_)
    return hand_written.candidate(
        row,
        tags=(f"topic:{row.topic}", f"kind:{row.kind}", *sensitive, *mark),
        provenance=Provenance(
            source=source,
            site=row.group,
            id=row.id,
            url=origin.url,
            author=f"{origin.author}; edited by {by}" if row.origin else by,
            license=origin.license,
            digest=origin.digest,
        ),
    )
