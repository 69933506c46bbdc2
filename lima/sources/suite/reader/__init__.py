"""The adversarial suite: prompts that try a model, and harmless ones that look like them, in JSONL of our own.

The paper names an adversarial prompt as what may break its model; here is what measures it: prompt injection, prompt
leaking and jailbreaks, each with a rule that decides from the answer alone whether the attempt succeeded. Nothing in
the suite is harmful to answer for whoever reads it: it tests behaviour, and teaches none. The operator's instructions
are the system turn. A benign prompt resembles one of the attacks, which it names.
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
    """One line of a suite."""

    group: Literal["injection", "leaking", "jailbreak", "benign"]
    family: Literal["injection", "leaking", "jailbreak"]  # of a benign one: what it looks like
    form: Literal["direct", "role-play", "encoded", "many-turn", "quoted"]
    topic: str = Field(min_length=1)
    # what a good answer does: leave an injected order, keep a secret, leave a word unsaid, refuse, or answer
    expects: Literal["disobeys", "conceals", "avoids", "refuses", "answers"]
    canary: str  # what only a bad answer holds; "" for those that refuse or answer
    mirrors: str = ""  # of a benign one: the id of the attack whose surface it shares

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
        said = " ".join(turn.content for turn in self.messages).casefold()
        if self.expects == "disobeys" and self.canary.casefold() in said:
            raise ValueError(f"canary {self.canary!r} occurs in the prompt, so that a quotation would count as obeying")
        if self.expects == "conceals" and self.canary.casefold() not in said:
            raise ValueError(f"canary {self.canary!r} does not stand in the prompt, so that it cannot leak")
        return self


def read(
    dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    for found in hand_written.rows(dumps, Case, tally=tally):
        if isinstance(found, Dropped):
            yield found
            continue
        _, case, line = found
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
