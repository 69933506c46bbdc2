"""The rules common to all sources, and the results of filtering a source (LIMA §2)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Generic, TypeVar

from pydantic import PositiveInt

from lima.config.sections import Filter
from lima.curation import decisions, hashing
from lima.curation.conversations import HAND_WRITTEN
from lima.curation.decisions import REASONS, Outcome, Outcomes
from lima.curation.dedup import NearDuplicateIndex
from lima.records import Candidate, Dropped, Example, Funnel, Prompt, Record
from lima.text import language, pii

Kind = TypeVar("Kind", Example, Prompt)


def common_rejection(
    record: Example | Prompt, candidate: Candidate, *, reader: str, settings: Filter
) -> Dropped | None:
    """The rules common to all sources: language of the last turn, and secrets. None if the record passes."""
    last = record.messages[-1].content
    if reader not in HAND_WRITTEN and (detail := language.foreign(last, settings=settings.language)):
        return decisions.dropped(candidate, "other_language", detail)
    secrets = (pii.find_secret(turn.content) for turn in record.messages)
    kind = next(filter(None, secrets), None)
    return decisions.dropped(candidate, "secret", kind) if kind else None


def with_common_rules(outcomes: Iterable[tuple[Candidate, Outcome]], *, reader: str, settings: Filter) -> Outcomes:
    """The outcomes of a source's own rules, after the common rules."""
    for candidate, outcome in outcomes:
        if isinstance(outcome, Dropped):
            yield candidate, outcome
        else:
            yield candidate, common_rejection(outcome, candidate, reader=reader, settings=settings) or outcome


class PersonalData(Record):
    """Number of masked items in a source's kept examples and prompts."""

    source: str
    masked: dict[str, PositiveInt]  # items by kind


class Accepted(Record, Generic[Kind]):
    """A record that passed the rules, with what its order and the choice between near duplicates depend on."""

    id: str  # of the candidate
    site: str
    score: int | None
    response_score: int | None
    record: Kind  # with masked personal data
    masked: dict[str, PositiveInt]  # masked items by kind


def accepted(candidate: Candidate, record: Kind, *, reader: str) -> Accepted[Kind]:
    """The accepted record of a candidate. Personal data are masked, except in hand-written sources."""
    masked, counts = (record, Counter[str]()) if reader in HAND_WRITTEN else pii.mask_record(record)
    return Accepted[Kind](
        id=candidate.id,
        site=candidate.provenance.site,
        score=candidate.score,
        response_score=candidate.response_score,
        record=masked,
        masked=dict(counts),
    )


class FilterResults:
    """Collects kept examples and prompts of one source; counts every candidate by outcome."""

    def __init__(self, *, reader: str, settings: Filter) -> None:
        self._has_votes = reader in ("stack_exchange", "reddit")
        self._reader = reader
        self._settings = settings
        self._kept: list[Accepted[Example]] = []
        self._prompts: list[Accepted[Prompt]] = []
        self._dropped: Counter[str] = Counter()

    def collect(self, outcomes: Iterable[tuple[Candidate, Outcome]]) -> Iterator[Dropped]:
        """Yields the dropped records; near duplicates come last, since the best of them is known only at the end.

        Hand-written sources are neither masked nor deduplicated.
        """
        for candidate, outcome in outcomes:
            match outcome:
                case Example():
                    self.add(accepted(candidate, outcome, reader=self._reader))
                case Prompt():
                    self.add_prompt(accepted(candidate, outcome, reader=self._reader))
                case Dropped():
                    yield self._counted(outcome)
        yield from self.without_duplicates()

    def add(self, example: Accepted[Example]) -> None:
        self._kept.append(example)

    def add_prompt(self, prompt: Accepted[Prompt]) -> None:
        self._prompts.append(prompt)

    def count_dropped(self, reasons: Mapping[str, int]) -> None:
        """Count dropped candidates whose records are elsewhere."""
        self._dropped.update(reasons)

    def without_duplicates(self) -> Iterator[Dropped]:
        """Remove near duplicates, once all records are added, and yield them."""
        if self._reader in HAND_WRITTEN:
            return
        self._kept, repeated = self._distinct(self._kept)
        self._prompts, repeated_prompts = self._distinct(self._prompts)
        yield from map(self._counted, [*repeated, *repeated_prompts])

    def kept(self) -> list[Example]:
        """Examples by site, best first within a site: by votes if the source has them, else shuffled."""
        return [accepted.record for accepted in sorted(self._kept, key=self._rank)]

    def prompts(self) -> list[Prompt]:
        return sorted((accepted.record for accepted in self._prompts), key=attrgetter("id"))

    def personal_data(self, source: str) -> PersonalData:
        masked = Counter[str]()
        for counts in [*(kept.masked for kept in self._kept), *(prompt.masked for prompt in self._prompts)]:
            masked.update(counts)
        return PersonalData(source=source, masked=dict(sorted(masked.items())))

    def funnel(self, source: str, *, offered: int) -> Funnel:
        reasons = {reason: self._dropped[reason] for reason in REASONS if self._dropped[reason]}
        return Funnel(source=source, offered=offered, kept=len(self._kept), prompts=len(self._prompts), dropped=reasons)

    def _counted(self, drop: Dropped) -> Dropped:
        self._dropped[drop.reason] += 1
        return drop

    def _distinct(self, accepted: list[Accepted[Kind]]) -> tuple[list[Accepted[Kind]], list[Dropped]]:
        """Of near duplicates keeps the one with the most votes, then the longest, then the smallest id."""
        index = NearDuplicateIndex(self._settings.near_duplicates)
        distinct: list[Accepted[Kind]] = []
        repeated: list[Dropped] = []
        for item in sorted(accepted, key=_preference):
            if duplicate := index.find(item.record):
                repeated.append(decisions.dropped(item, "near_duplicate", str(duplicate)))
            else:
                distinct.append(item)
        return distinct, repeated

    def _rank(self, kept: Accepted[Example]) -> tuple[str, float, str]:
        if self._has_votes:
            return kept.site, -float(kept.score or 0), kept.id
        return kept.site, hashing.hash_uniform(self._settings.seed, kept.id), kept.id


def _preference(accepted: Accepted[Kind]) -> tuple[int, int, str]:
    return -(accepted.response_score or 0), -len(accepted.record.messages[-1].content), accepted.record.id
