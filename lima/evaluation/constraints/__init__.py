"""Verifiable constraints on the form of a response, as in IFEval (LIMA appendix E; not specified in the paper).

A prompt lists its constraints with their arguments. A response keeps a prompt if it satisfies all of them (strict).
Constraints check the form only, not the content. Space around the response and around lines is ignored; so is strong
emphasis (`**`), unless it is part of the constraint. A check takes a time that is about linear in the length of the
response, which is limited to MAX_CHARS.
"""

from lima.constraint_types import Arguments
from lima.evaluation.constraints import documents, lists, prose, tables
from lima.evaluation.constraints.structure import Rule
from lima.records import Prompt

MAX_CHARS = 1_000_000  # of a response; a longer one violates every constraint
SHOWN = 100  # characters of a violation, which may quote the response
RULES: dict[type[Arguments], Rule] = {**prose.RULES, **lists.RULES, **tables.RULES, **documents.RULES}


def violation(constraint: Arguments, answer: str) -> str | None:
    """Return the first violation of a constraint, at most SHOWN characters and "…"; None if it is satisfied."""
    if len(answer) > MAX_CHARS:
        return f"{len(answer)} characters; at most {MAX_CHARS} are checked"
    fault = RULES[type(constraint)](constraint, answer.strip())
    return fault if fault is None or len(fault) <= SHOWN else f"{fault[:SHOWN]}…"


def violations(prompt: Prompt, answer: str) -> tuple[str | None, ...]:
    """Return the violation of each constraint of the prompt in order, None where the constraint is satisfied."""
    return tuple(violation(constraint, answer) for constraint in prompt.constraints)


def first_violation(prompt: Prompt, answer: str) -> str | None:
    """Return the first violation of the prompt's constraints; None if all are satisfied, so that the prompt is kept."""
    return next((fault for fault in violations(prompt, answer) if fault is not None), None)
