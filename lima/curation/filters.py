"""The filters of each source over a stream of candidates, and what they leave, in order (LIMA §2)."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from lima.config.sections import Filter
from lima.curation import (
    conversations,
    decisions,
    natural_instructions_rules,
    reddit_rules,
    stack_exchange_rules,
    wikihow_rules,
)
from lima.curation.conversations import HAND_WRITTEN
from lima.curation.decisions import Outcome
from lima.records import Candidate, Dropped, Example, Prompt
from lima.text import language, pii

Convert = Callable[[str], str]  # HTML to Markdown


def sift(
    candidates: Iterable[Candidate], *, reader: str, p: Filter, to_markdown: Convert, to_marked: Convert
) -> Iterator[tuple[Candidate, Outcome]]:
    """Each candidate with what becomes of it, in their order; none is held but a task of Super-Natural Instructions.

    `to_marked` sets `lima.text.removal_marks` where `to_markdown` leaves links and images out: rules read it, no
    example has it.
    """
    markdown, marked = partial(_markdown, to_markdown), partial(_markdown, to_marked)
    match reader:
        case "stack_exchange":
            decide = partial(
                stack_exchange_rules.decide, p=p.stack_exchange, seed=p.seed, to_markdown=markdown, to_marked=marked
            )
        case "wikihow":
            decide = partial(wikihow_rules.decide, p=p.wikihow, to_markdown=markdown)
        case "reddit":
            decide = partial(reddit_rules.decide, p=p.reddit, to_markdown=markdown)
        case "natural_instructions":
            tasks = natural_instructions_rules.sift(candidates, p=p.natural_instructions, language=p.language)
            return _fit(tasks, reader=reader, p=p)
        case "authored" | "suite" | "lima" | "alpaca" | "chat":
            decide = partial(conversations.decide, to_markdown=markdown)
        case _:
            raise ValueError(f"no filters for the reader {reader!r}")
    return _fit(((candidate, decide(candidate)) for candidate in candidates), reader=reader, p=p)


def unfiltered(
    candidates: Iterable[Candidate], *, reader: str, p: Filter, to_markdown: Convert, to_marked: Convert
) -> Iterator[Example]:
    """The candidates as they come, for arms without quality filters (§5).

    What has no text to convert is left out, and so is what may not be shown; personal data are masked as in `Bins`.
    """
    markdown, marked = partial(_markdown, to_markdown), partial(_markdown, to_marked)
    share = p.stack_exchange.title_share
    for candidate in candidates:
        outcome: Outcome
        if reader == "stack_exchange":
            response = markdown(candidate, candidate.response)
            outcome = stack_exchange_rules.example(
                candidate, response, share=share, seed=p.seed, to_markdown=markdown, to_marked=marked
            )
        else:
            outcome = conversations.decide(candidate, to_markdown=markdown)
        told = isinstance(outcome, Example) and all(turn.content.strip() for turn in outcome.messages)
        if isinstance(outcome, Example) and told and not unfit(outcome, candidate, reader=reader, p=p):
            yield outcome if reader in HAND_WRITTEN else pii.without(outcome)[0]


def unfit(record: Example | Prompt, candidate: Candidate, *, reader: str, p: Filter) -> Dropped | None:
    """What no source's filter asks: another language, and secrets. The response tells the language, if there is one."""
    if reader not in HAND_WRITTEN and (found := language.foreign(record.messages[-1].content, p=p.language)):
        return decisions.dropped(candidate, "other_language", found)
    secrets = (pii.secret(turn.content) for turn in record.messages)
    kind = next(filter(None, secrets), None)
    return decisions.dropped(candidate, "secret", kind) if kind else None


def _fit(sifted: Iterable[tuple[Candidate, Outcome]], *, reader: str, p: Filter) -> Iterator[tuple[Candidate, Outcome]]:
    for candidate, outcome in sifted:
        fault = None if isinstance(outcome, Dropped) else unfit(outcome, candidate, reader=reader, p=p)
        yield candidate, fault or outcome


def _markdown(to_markdown: Convert, candidate: Candidate, text: str) -> str:
    return to_markdown(text) if candidate.markup == "html" else text
