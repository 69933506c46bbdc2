"""Light manual edits of kept examples, from a file that others can review (LIMA §2.1).

The paper's authors edited some of their examples to make the style uniform. An edit names an example, a passage that
occurs exactly once in its prompt or response, the replacement, and the reason. A file may cover several sources.
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
    """An edit that does not fit its example; the message starts with the edit's line."""


EditsById = dict[str, list[tuple[str, Edit]]]  # each edit with its location FILE:LINE


def read_edits(path: Path, source: str) -> EditsById:
    """The file's edits of one source's examples, whose ids begin with its name. Raises EditError without the file."""
    if not path.exists():
        raise EditError(
            f"filter.edits not found: {path}; correct the path in params.yaml (an empty file means no edits)"
        )
    edits: EditsById = {}
    for number, edit in enumerate(jsonl.read(path, Edit), start=1):
        if edit.id.startswith(f"{source}/"):
            edits.setdefault(edit.id, []).append((f"{path}:{number}", edit))
    return edits


def apply_edits(outcomes: Iterable[tuple[Candidate, Outcome]], edits: EditsById) -> Iterator[tuple[Candidate, Outcome]]:
    """The outcomes with their edits applied. Raises EditError if an edit does not fit or has no candidate."""
    pending = dict(edits)
    for candidate, outcome in outcomes:
        for place, edit in pending.pop(candidate.id, []):
            outcome = apply_edit(outcome, edit, place=place)
        yield candidate, outcome
    require_none(pending)


def require_none(pending: EditsById) -> None:
    """Raise EditError if there are edits, whose ids no candidate has."""
    if pending:
        place, edit = next(iter(pending.values()))[0]
        raise EditError(
            f"{place}: no candidate has the id {edit.id}; correct the id or delete the line. Edits belong to one "
            f"corpus: for your own dumps set filter.edits to your own file, or to corpus/edits/none.jsonl"
        )


def apply_edit(outcome: Outcome, edit: Edit, *, place: str) -> Outcome:
    """The example or prompt with its passage replaced. Raises EditError if the passage does not occur exactly once."""
    if isinstance(outcome, Dropped):
        raise EditError(f"{place}: {edit.id} is not kept ({outcome.reason}: {outcome.detail}); delete the line")
    index = ("prompt", "response").index(edit.field) + (outcome.messages[0].role == "system")
    if index >= len(outcome.messages):
        raise EditError(f"{place}: {edit.id} has no {edit.field}; correct the field or delete the line")
    turn = outcome.messages[index]
    if (count := turn.content.count(edit.before)) != 1:
        raise EditError(
            f"{place}: {edit.before!r} occurs {count} times in the {edit.field} of {edit.id}; name a passage that "
            "occurs exactly once"
        )
    turns = list(outcome.messages)
    turns[index] = turn.model_copy(update={"content": turn.content.replace(edit.before, edit.after)})
    if not turns[index].content.strip():
        raise EditError(f"{place}: the edited {edit.field} of {edit.id} is empty; keep some text")
    return outcome.model_copy(update={"messages": tuple(turns)})
