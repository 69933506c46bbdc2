"""Light edits of what the filters kept, written by a person as a file that others can review (LIMA §2.1).

The paper's authors edited some of their examples so that all have one style. An edit names an example, a passage that
stands exactly once in its prompt or response, what takes its place, and why. The file may be about several sources.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from lima import jsonl
from lima.curation.decisions import Outcome
from lima.errors import LimaError
from lima.records import Candidate, Dropped, Record


class Edit(Record):
    id: str = Field(min_length=1)  # of the example or prompt
    field: Literal["prompt", "response"]  # of the first exchange
    before: str = Field(min_length=1)
    after: str
    why: str = Field(min_length=1)


class EditError(LimaError):
    """An edit that does not fit what it is for; names its line."""


Placed = dict[str, list[tuple[str, Edit]]]  # by id, each with its place FILE:LINE


def of_source(path: Path, source: str) -> Placed:
    """The file's edits of one source's examples, whose ids begin with its name."""
    if not path.exists():
        raise EditError(f"there is no {path}; filter.edits in params.yaml names it, and an empty file means no edits")
    found: Placed = {}
    for number, edit in enumerate(jsonl.read(path, Edit), start=1):
        if edit.id.startswith(f"{source}/"):
            found.setdefault(edit.id, []).append((f"{path}:{number}", edit))
    return found


def applied(sifted: Iterable[tuple[Candidate, Outcome]], edits: Placed) -> Iterator[tuple[Candidate, Outcome]]:
    """The same outcomes, edited where that is due. Raises EditError if an edit is left over or does not fit."""
    due = dict(edits)
    for candidate, outcome in sifted:
        for place, edit in due.pop(candidate.id, []):
            outcome = edited(outcome, edit, place=place)
        yield candidate, outcome
    if due:
        place, edit = next(iter(due.values()))[0]
        raise EditError(
            f"{place}: no candidate has the id {edit.id}; correct it, or take the line out. Edits are of one corpus: "
            f"with dumps of your own, set filter.edits to a file of your own, or to corpus/edits/none.jsonl"
        )


def edited(outcome: Outcome, edit: Edit, *, place: str) -> Outcome:
    if isinstance(outcome, Dropped):
        raise EditError(f"{place}: {edit.id} is not kept ({outcome.reason}: {outcome.detail}); take the line out")
    index = ("prompt", "response").index(edit.field) + (outcome.messages[0].role == "system")
    if index >= len(outcome.messages):
        raise EditError(f"{place}: {edit.id} has no {edit.field}")
    turn = outcome.messages[index]
    if (times := turn.content.count(edit.before)) != 1:
        raise EditError(
            f"{place}: {edit.before!r} stands {times} times in the {edit.field} of {edit.id}, and not once; "
            "name a passage that is there and that is the only one"
        )
    turns = list(outcome.messages)
    turns[index] = turn.model_copy(update={"content": turn.content.replace(edit.before, edit.after)})
    if not turns[index].content.strip():
        raise EditError(f"{place}: nothing would be left of the {edit.field} of {edit.id}")
    return outcome.model_copy(update={"messages": tuple(turns)})
