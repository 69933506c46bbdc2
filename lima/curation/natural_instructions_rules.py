"""Which tasks are language generation, told from the task as a whole (LIMA §2.1: 50 tasks, one example each).

Super-Natural Instructions marks no task as generation. A task counts as such if its category is on the list, its
outputs differ from each other, their median is more than a few words, and few of them are unpolished or, where a task
rewrites its input, about something else: where many are, the others were written without care too.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from statistics import median

from lima.config.sections import Language, NaturalInstructionsFilter
from lima.curation import decisions
from lima.curation.decisions import Outcome
from lima.records import Candidate
from lima.text import language as language_of

# " ." may open a file name, so the sign must end there
APART = re.compile(r"(?<=\w) (?:[.,;?!](?=\s|$)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b)|\( \w|\w \)")
LONG_WORD = re.compile(r"\w{4,}")


def sift(
    candidates: Iterable[Candidate], *, p: NaturalInstructionsFilter, language: Language
) -> Iterator[tuple[Candidate, Outcome]]:
    """Instances of a task come one after the other; one task at a time is held."""
    for _, instances in groupby(candidates, key=lambda candidate: candidate.provenance.site):
        task = list(instances)
        fault = task_fault(task, p=p, language=language)
        for candidate in task:
            yield candidate, decisions.dropped(candidate, *fault) if fault else decide(candidate, p=p)


def task_fault(task: list[Candidate], *, p: NaturalInstructionsFilter, language: Language) -> tuple[str, str] | None:
    """Reason and detail why no instance of the task is kept. A task without languages is judged by its outputs."""
    languages, categories = tagged(task[0], "language:"), tagged(task[0], "category:")
    if languages:
        foreign = None if languages == ["English"] else ", ".join(languages)
    else:
        foreign = language_of.foreign("\n\n".join(candidate.response for candidate in task), settings=language)
    if foreign:
        return "other_language", foreign
    if not set(categories) & set(p.categories):
        return "other_category", ", ".join(categories) or "none told"
    outputs = [candidate.response.strip() for candidate in task]
    distinct = len(set(outputs)) / len(outputs)
    if distinct < p.min_distinct_share:
        return "few_distinct_outputs", f"{distinct:.3f} of {len(outputs)}, at least {p.min_distinct_share}"
    words = median(len(output.split()) for output in outputs)
    if words < p.min_median_words:
        return "short_outputs", f"median {words:g} words, at least {p.min_median_words}"
    rough = sum(unpolished(output) is not None for output in outputs) / len(outputs)
    if rough > p.max_unpolished_share:
        return "unpolished", f"{rough:.3f} of the task's {len(outputs)} outputs, at most {p.max_unpolished_share}"
    astray = sum(unrelated(candidate, p=p) for candidate in task) / len(task)
    if astray > p.max_unrelated_share:
        return "unrelated", f"{astray:.3f} of the task's {len(task)} outputs, at most {p.max_unrelated_share}"
    return None


def unrelated(candidate: Candidate, *, p: NaturalInstructionsFilter) -> bool:
    """Whether the output of a task that rewrites its input has words, and none that begins like one of the input's."""
    if not set(tagged(candidate, "category:")) & set(p.rewriting):
        return False
    said = beginnings(candidate.response)
    return bool(said) and not said & beginnings(candidate.description)


def beginnings(text: str) -> set[str]:
    """Of each word of four letters and more, the first four: what inflection leaves alone."""
    return {word[:4] for word in LONG_WORD.findall(text.casefold())}


def unpolished(output: str) -> str | None:
    """What shows that an output was written for a program and for nobody to read.

    Either it went through a tokenizer, which sets punctuation apart ("He did n't go ."), or it has no capital letter
    anywhere, as in collections of reviews.
    """
    if apart := APART.search(output):
        return f"{output[max(0, apart.start() - 10) : apart.end()]!r}: punctuation stands apart"
    if output.islower():
        return "no capital letter"
    return None


def repeats_input(candidate: Candidate) -> bool:
    """Whether the output is the input, but for space and the case of letters."""
    answer, given = (" ".join(text.casefold().split()) for text in (candidate.response, candidate.description))
    return bool(answer) and answer == given


def tagged(candidate: Candidate, kind: str) -> list[str]:
    return [tag.removeprefix(kind) for tag in candidate.tags if tag.startswith(kind)]


def decide(candidate: Candidate, *, p: NaturalInstructionsFilter) -> Outcome:
    """The task's definition, a blank line and the input are the prompt."""
    prompt = "\n\n".join(part for text in (candidate.title, candidate.description) if (part := text.strip()))
    if not prompt:
        return decisions.dropped(candidate, "empty_text", "definition and input")
    if not candidate.response.strip():
        return decisions.dropped(candidate, "no_answer", "no output")
    if repeats_input(candidate):
        return decisions.dropped(candidate, "response_equals_input", repr(candidate.response.strip()[:60]))
    if rough := unpolished(candidate.response):
        return decisions.dropped(candidate, "unpolished", rough)
    if unrelated(candidate, p=p):
        return decisions.dropped(candidate, "unrelated", repr(candidate.response[:60]))
    if len(prompt) > p.max_prompt_chars:
        return decisions.dropped(
            candidate, "prompt_too_long", f"{len(prompt)} characters, at most {p.max_prompt_chars}"
        )
    return decisions.example(candidate, prompt, candidate.response.strip())
