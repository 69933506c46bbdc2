"""The rules common to all sources, and the results of filtering a source (LIMA §2)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

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


class Accepted(NamedTuple, Generic[Kind]):
    candidate: Candidate
    record: Kind
    masked: Counter[str]


class FilterResults:
    """Collects kept examples and prompts of one source; counts every candidate by outcome."""

    def __init__(self, *, reader: str, settings: Filter) -> None:
        self._has_votes = reader in ("stack_exchange", "reddit")
        self._hand_written = reader in HAND_WRITTEN
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
                    self._kept.append(Accepted(candidate, *self._masked(outcome)))
                case Prompt():
                    self._prompts.append(Accepted(candidate, *self._masked(outcome)))
                case Dropped():
                    yield self._counted(outcome)
        if self._hand_written:
            return
        self._kept, repeated = self._distinct(self._kept)
        self._prompts, repeated_prompts = self._distinct(self._prompts)
        yield from map(self._counted, [*repeated, *repeated_prompts])

    def kept(self) -> list[Example]:
        """Examples by site, best first within a site: by votes if the source has them, else shuffled."""
        return [accepted.record for accepted in sorted(self._kept, key=lambda accepted: self._rank(accepted.candidate))]

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

    def _masked(self, record: Kind) -> tuple[Kind, Counter[str]]:
        return (record, Counter()) if self._hand_written else pii.mask_record(record)

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
                repeated.append(decisions.dropped(item.candidate, "near_duplicate", str(duplicate)))
            else:
                distinct.append(item)
        return distinct, repeated

    def _rank(self, candidate: Candidate) -> tuple[str, float, str]:
        if self._has_votes:
            return candidate.provenance.site, -float(candidate.score or 0), candidate.id
        return candidate.provenance.site, hashing.hash_uniform(self._settings.seed, candidate.id), candidate.id


def _preference(accepted: Accepted[Kind]) -> tuple[int, int, str]:
    return -(accepted.candidate.response_score or 0), -len(accepted.record.messages[-1].content), accepted.record.id
