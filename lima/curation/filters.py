"""The filters of each source over a stream of candidates, and their results (LIMA §2)."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from pydantic import PositiveInt

from lima.config.sections import Filter
from lima.curation import (
    conversations,
    decisions,
    hashing,
    natural_instructions_rules,
    plugin_rules,
    reddit_rules,
    stack_exchange_rules,
    wikihow_rules,
)
from lima.curation.conversations import HAND_WRITTEN
from lima.curation.decisions import REASONS, Outcome
from lima.curation.dedup import NearDuplicateIndex
from lima.records import Candidate, Dropped, Example, Funnel, Prompt, Record
from lima.text import language, pii

Convert = Callable[[str], str]  # HTML to Markdown
Kind = TypeVar("Kind", Example, Prompt)


def sift(
    candidates: Iterable[Candidate], *, reader: str, p: Filter, to_markdown: Convert, to_marked: Convert
) -> Iterator[tuple[Candidate, Outcome]]:
    """Each candidate with what becomes of it, in their order; none is held but a task of Super-Natural Instructions.

    `to_marked` sets `lima.text.removal_marks` where `to_markdown` leaves links and images out: rules read it, no
    example has it.
    """
    markdown, marked = partial(_markdown, to_markdown), partial(_markdown, to_marked)
    decide: Callable[[Candidate], Outcome]
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
            decide = plugin_rules.rule(reader, p, to_markdown=markdown)
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
            yield outcome if reader in HAND_WRITTEN else pii.mask_record(outcome)[0]


def unfit(record: Example | Prompt, candidate: Candidate, *, reader: str, p: Filter) -> Dropped | None:
    """What no source's filter asks: another language, and secrets. The response tells the language, if there is one."""
    if reader not in HAND_WRITTEN and (found := language.foreign(record.messages[-1].content, settings=p.language)):
        return decisions.dropped(candidate, "other_language", found)
    secrets = (pii.find_secret(turn.content) for turn in record.messages)
    kind = next(filter(None, secrets), None)
    return decisions.dropped(candidate, "secret", kind) if kind else None


class PersonalData(Record):
    """What was masked in a source's kept examples and prompts."""

    source: str
    masked: dict[str, PositiveInt]  # findings a kind


class Passed(NamedTuple, Generic[Kind]):
    candidate: Candidate
    record: Kind
    masked: Counter[str]


class FilterResults:
    """Where candidates go: the dropped ones on, the others here."""

    def __init__(self, *, reader: str, p: Filter) -> None:
        self._voted = reader in ("stack_exchange", "reddit")
        self._hand_written = reader in HAND_WRITTEN
        self._p = p
        self._kept: list[Passed[Example]] = []
        self._prompts: list[Passed[Prompt]] = []
        self._dropped: Counter[str] = Counter()

    def fill(self, sifted: Iterable[tuple[Candidate, Outcome]]) -> Iterator[Dropped]:
        """What is dropped, the near duplicates last: who is worth more of two is known when all have come.

        What was written by hand is left as it is, and beside its like.
        """
        for candidate, outcome in sifted:
            match outcome:
                case Example():
                    self._kept.append(Passed(candidate, *self._masked(outcome)))
                case Prompt():
                    self._prompts.append(Passed(candidate, *self._masked(outcome)))
                case Dropped():
                    yield self._counted(outcome)
        if self._hand_written:
            return
        self._kept, repeated = self._distinct(self._kept)
        self._prompts, repeated_prompts = self._distinct(self._prompts)
        yield from map(self._counted, [*repeated, *repeated_prompts])

    def kept(self) -> list[Example]:
        """By site, and best first within it: by votes where a community gave them, else shuffled."""
        return [passed.record for passed in sorted(self._kept, key=lambda passed: self._rank(passed.candidate))]

    def prompts(self) -> list[Prompt]:
        return sorted((passed.record for passed in self._prompts), key=attrgetter("id"))

    def personal_data(self, source: str) -> PersonalData:
        masked = Counter[str]()
        for found in [*(one.masked for one in self._kept), *(one.masked for one in self._prompts)]:
            masked.update(found)
        return PersonalData(source=source, masked=dict(sorted(masked.items())))

    def funnel(self, source: str, *, offered: int) -> Funnel:
        reasons = {reason: self._dropped[reason] for reason in REASONS if self._dropped[reason]}
        return Funnel(source=source, offered=offered, kept=len(self._kept), prompts=len(self._prompts), dropped=reasons)

    def _masked(self, record: Kind) -> tuple[Kind, Counter[str]]:
        return (record, Counter()) if self._hand_written else pii.mask_record(record)

    def _counted(self, drop: Dropped) -> Dropped:
        self._dropped[drop.reason] += 1
        return drop

    def _distinct(self, passed: list[Passed[Kind]]) -> tuple[list[Passed[Kind]], list[Dropped]]:
        """Of near duplicates the one whose answer has more votes, then the longer one, then the smaller id."""
        seen, distinct, repeated = NearDuplicateIndex(self._p.near_duplicates), list[Passed[Kind]](), list[Dropped]()
        for one in sorted(passed, key=_worth):
            if twin := seen.find(one.record):
                repeated.append(decisions.dropped(one.candidate, "near_duplicate", str(twin)))
            else:
                distinct.append(one)
        return distinct, repeated

    def _rank(self, candidate: Candidate) -> tuple[str, float, str]:
        merit = -float(candidate.score or 0) if self._voted else hashing.hash_uniform(self._p.seed, candidate.id)
        return candidate.provenance.site, merit, candidate.id


def _fit(sifted: Iterable[tuple[Candidate, Outcome]], *, reader: str, p: Filter) -> Iterator[tuple[Candidate, Outcome]]:
    for candidate, outcome in sifted:
        fault = None if isinstance(outcome, Dropped) else unfit(outcome, candidate, reader=reader, p=p)
        yield candidate, fault or outcome


def _markdown(to_markdown: Convert, candidate: Candidate, text: str) -> str:
    return to_markdown(text) if candidate.markup == "html" else text


def _worth(passed: Passed[Kind]) -> tuple[int, int, str]:
    return -(passed.candidate.response_score or 0), -len(passed.record.messages[-1].content), passed.record.id
