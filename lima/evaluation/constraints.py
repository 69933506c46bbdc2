"""Whether an answer keeps the form that its prompt prescribes, told by rule (LIMA appendix E; the forms are ours).

A form is named by the prompt's tag `keeps:NAME`. What stands in the answer is judged by nobody here, only where and how
it stands.
"""

from collections.abc import Callable

from lima.evaluation import constraints_structure, constraints_text
from lima.records import Prompt

TAG = "keeps:"
SHOWN = 100  # characters of a fault, which may quote the answer
CONSTRAINTS: dict[str, Callable[[str], str | None]] = {
    "haiku": constraints_text.haiku,
    "acrostic": constraints_text.acrostic,
    "limerick": constraints_text.limerick,
    "speakers": constraints_text.speakers,
    "timeline": constraints_text.timeline,
    "fifty-words": constraints_text.fifty_words,
    "table": constraints_structure.table,
    "checklist": constraints_structure.checklist,
    "glossary": constraints_structure.glossary,
    "outline": constraints_structure.outline,
    "csv": constraints_structure.log,
    "yaml": constraints_structure.course,
}


def constraint_of(prompt: Prompt) -> str | None:
    """The name of the form that the prompt prescribes."""
    return next((tag.removeprefix(TAG) for tag in prompt.tags if tag.startswith(TAG)), None)


def violation(form: str, answer: str) -> str | None:
    """What first breaks the form, in words; None where it is kept. Raises ValueError for a form without a rule."""
    if form not in CONSTRAINTS:
        raise ValueError(
            f"no rule reads the form {form!r}; there are {', '.join(CONSTRAINTS)} in lima/evaluation/constraints.py"
        )
    found = CONSTRAINTS[form](answer.strip())
    return found if found is None or len(found) <= SHOWN else f"{found[:SHOWN]}…"
