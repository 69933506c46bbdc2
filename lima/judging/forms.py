"""Whether an answer keeps the form that its prompt prescribes, told by rule (LIMA appendix E; the forms are ours).

A form is named by the prompt's tag `keeps:NAME`. What stands in the answer is judged by nobody here, only where and how
it stands.
"""

from collections.abc import Callable

from lima.judging import files, verses
from lima.records import Prompt

TAG = "keeps:"
SHOWN = 100  # characters of a fault, which may quote the answer
FORMS: dict[str, Callable[[str], str | None]] = {
    "haiku": verses.haiku,
    "acrostic": verses.acrostic,
    "limerick": verses.limerick,
    "speakers": verses.speakers,
    "timeline": verses.timeline,
    "fifty-words": verses.fifty_words,
    "table": files.table,
    "checklist": files.checklist,
    "glossary": files.glossary,
    "outline": files.outline,
    "csv": files.log,
    "yaml": files.course,
}


def asked(prompt: Prompt) -> str | None:
    """The name of the form that the prompt prescribes."""
    return next((tag.removeprefix(TAG) for tag in prompt.tags if tag.startswith(TAG)), None)


def fault(form: str, answer: str) -> str | None:
    """What first breaks the form, in words; None where it is kept. Raises ValueError for a form without a rule."""
    if form not in FORMS:
        raise ValueError(f"no rule reads the form {form!r}; there are {', '.join(FORMS)} in lima/judging/forms.py")
    found = FORMS[form](answer.strip())
    return found if found is None or len(found) <= SHOWN else f"{found[:SHOWN]}…"
