"""Rules for Super-Natural Instructions: selection of language-generation tasks (LIMA §2.1: 50 tasks, one example each).

The data set does not mark generation tasks. A task is one if its category is listed, its outputs differ, their median
length exceeds a few words, and few of them are unpolished. In tasks that rewrite their input, few outputs may be
unrelated to it. A task with many faulty outputs is dropped as a whole.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from statistics import median

from lima.config.sections import Filter, Language, NaturalInstructionsFilter
from lima.curation import decisions
from lima.curation.conversations import unfiltered
from lima.curation.decisions import Convert, Outcome, Outcomes
from lima.records import Candidate
from lima.text import language as language_of

__all__ = ["WHOLE_SITES", "outcomes", "unfiltered"]

WHOLE_SITES = True  # a task, which is a site here, is decided as a whole

# " ." may begin a file name, so the punctuation mark must be followed by white space
APART = re.compile(r"(?<=\w) (?:[.,;?!](?=\s|$)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b)|\( \w|\w \)")
LONG_WORD = re.compile(r"\w{4,}")


def outcomes(
    candidates: Iterable[Candidate], *, settings: Filter, to_markdown: Convert, to_marked: Convert
) -> Outcomes:
    return decide_by_task(candidates, settings=settings.natural_instructions, language=settings.language)


def decide_by_task(
    candidates: Iterable[Candidate], *, settings: NaturalInstructionsFilter, language: Language
) -> Outcomes:
    """The outcome of each instance. Instances of a task must be adjacent; one task is buffered at a time."""
    for _, instances in groupby(candidates, key=lambda candidate: candidate.provenance.site):
        task = list(instances)
        fault = task_fault(task, settings=settings, language=language)
        for candidate in task:
            yield candidate, decisions.dropped(candidate, *fault) if fault else decide(candidate, settings=settings)


def task_fault(
    task: list[Candidate], *, settings: NaturalInstructionsFilter, language: Language
) -> tuple[str, str] | None:
    """Reason and detail for dropping the whole task, or None. Without language tags the outputs are checked."""
    languages, categories = tag_values(task[0], "language:"), tag_values(task[0], "category:")
    if languages:
        foreign = None if languages == ["English"] else ", ".join(languages)
    else:
        foreign = language_of.foreign("\n\n".join(candidate.response for candidate in task), settings=language)
    if foreign:
        return "other_language", foreign
    if not set(categories) & set(settings.categories):
        return "other_category", ", ".join(categories) or "no category"
    outputs = [candidate.response.strip() for candidate in task]
    distinct = len(set(outputs)) / len(outputs)
    if distinct < settings.min_distinct_share:
        return "few_distinct_outputs", f"{distinct:.3f} of {len(outputs)}, at least {settings.min_distinct_share}"
    words = median(len(output.split()) for output in outputs)
    if words < settings.min_median_words:
        return "short_outputs", f"median {words:g} words, at least {settings.min_median_words}"
    unpolished_share = sum(unpolished(output) is not None for output in outputs) / len(outputs)
    if unpolished_share > settings.max_unpolished_share:
        return (
            "unpolished",
            f"{unpolished_share:.3f} of the task's {len(outputs)} outputs, at most {settings.max_unpolished_share}",
        )
    unrelated_share = sum(unrelated(candidate, settings=settings) for candidate in task) / len(task)
    if unrelated_share > settings.max_unrelated_share:
        return (
            "unrelated",
            f"{unrelated_share:.3f} of the task's {len(task)} outputs, at most {settings.max_unrelated_share}",
        )
    return None


def unrelated(candidate: Candidate, *, settings: NaturalInstructionsFilter) -> bool:
    """Whether an output of a rewriting task has words, none of which shares its prefix with a word of the input."""
    if not set(tag_values(candidate, "category:")) & set(settings.rewriting):
        return False
    prefixes = word_prefixes(candidate.response)
    return bool(prefixes) and not prefixes & word_prefixes(candidate.description)


def word_prefixes(text: str) -> set[str]:
    """The first four letters of each word of at least four letters, as a crude stem."""
    return {word[:4] for word in LONG_WORD.findall(text.casefold())}


def unpolished(output: str) -> str | None:
    """Evidence that an output was written for a program and not for a reader, or None.

    Either it is tokenized, with spaces before punctuation ("He did n't go ."), or it has no capital letter, as in
    collections of reviews.
    """
    if apart := APART.search(output):
        return f"{output[max(0, apart.start() - 10) : apart.end()]!r}: space around punctuation"
    if output.islower():
        return "no capital letter"
    return None


def repeats_input(candidate: Candidate) -> bool:
    """Whether the output equals the input except for white space and case."""
    output, source = (" ".join(text.casefold().split()) for text in (candidate.response, candidate.description))
    return bool(output) and output == source


def tag_values(candidate: Candidate, kind: str) -> list[str]:
    """Values of the tags with the prefix `kind`."""
    return [tag.removeprefix(kind) for tag in candidate.tags if tag.startswith(kind)]


def decide(candidate: Candidate, *, settings: NaturalInstructionsFilter) -> Outcome:
    """The prompt is the task's definition, a blank line, and the input."""
    prompt = "\n\n".join(part for text in (candidate.title, candidate.description) if (part := text.strip()))
    if not prompt:
        return decisions.dropped(candidate, "empty_text", "definition and input")
    if not candidate.response.strip():
        return decisions.dropped(candidate, "no_answer", "no output")
    if repeats_input(candidate):
        return decisions.dropped(candidate, "response_equals_input", repr(candidate.response.strip()[:60]))
    if evidence := unpolished(candidate.response):
        return decisions.dropped(candidate, "unpolished", evidence)
    if unrelated(candidate, settings=settings):
        return decisions.dropped(candidate, "unrelated", repr(candidate.response[:60]))
    if len(prompt) > settings.max_prompt_chars:
        return decisions.dropped(
            candidate, "prompt_too_long", f"{len(prompt)} characters, at most {settings.max_prompt_chars}"
        )
    return decisions.example(candidate, prompt, candidate.response.strip())
