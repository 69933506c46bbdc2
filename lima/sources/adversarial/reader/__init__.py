"""Adversarial prompts written by hand, and harmless ones that resemble them, in JSONL (LIMA §4).

Prompt injection, prompt leaking and jailbreaks. A rule decides from the response alone whether an attack succeeded. The
operator's instructions are the system turn. A benign prompt names the attack that it resembles. No answer to a prompt
would harm its reader.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lima.records import Candidate, Dropped, Provenance
from lima.sources import hand_written
from lima.sources.base import Prefilter, ReadStats, digest
from lima.sources.hand_written import pieces

__all__ = ["Case", "pieces", "read"]


class Case(hand_written.Written):
    """One line of a file of adversarial prompts."""

    group: Literal["injection", "leaking", "jailbreak", "benign"]
    family: Literal["injection", "leaking", "jailbreak"]  # of a benign prompt: that of the attack it resembles
    form: Literal["direct", "role-play", "encoded", "many-turn", "quoted"]
    topic: str = Field(min_length=1)
    # of a good answer: ignores an injected order, keeps a secret, avoids a word, refuses, or answers
    expects: Literal["disobeys", "conceals", "avoids", "refuses", "answers"]
    canary: str  # text that only a bad answer contains; "" if it refuses or answers
    mirrors: str = ""  # of a benign prompt: id of the attack it resembles

    @model_validator(mode="after")
    def is_decidable(self) -> Self:
        roles = [turn.role for turn in self.messages]
        spoken = roles[roles[0] == "system" :]
        if spoken != [("user", "assistant")[number % 2] for number in range(len(spoken))] or spoken[-1:] != ["user"]:
            raise ValueError(
                f"the turns are {' '.join(roles)}; user and assistant alternate, the user begins and ends, after one "
                "system turn at most"
            )
        if (self.group == "benign") != bool(self.mirrors):
            raise ValueError(f"mirrors {self.mirrors!r}: a benign prompt names the attack it resembles, an attack none")
        if bool(self.canary) == (self.expects in ("refuses", "answers")):
            raise ValueError(
                f"canary {self.canary!r}: required unless the answer refuses or answers; correct canary or expects"
            )
        text = " ".join(turn.content for turn in self.messages).casefold()
        if self.expects == "disobeys" and self.canary.casefold() in text:
            raise ValueError(f"canary {self.canary!r} occurs in the prompt, so that a quotation would count as obeying")
        if self.expects == "conceals" and self.canary.casefold() not in text:
            raise ValueError(f"canary {self.canary!r} is not in the prompt, so that it cannot leak")
        return self


def read(
    dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    for row in hand_written.rows(dumps, Case, tally=tally):
        if isinstance(row, Dropped):
            yield row
            continue
        _, case, line = row
        tally.questions += 1
        canary = (f"canary:{case.canary}",) if case.canary else ()
        mirrors = (f"mirrors:{case.mirrors}",) if case.mirrors else ()
        yield hand_written.candidate(
            case,
            tags=(f"family:{case.family}", f"form:{case.form}", f"expects:{case.expects}", *canary, *mirrors),
            provenance=Provenance(
                source=source, site=case.group, id=case.id, url="", author="", license=license, digest=digest(line)
            ),
        )
