"""What the filters leave of a source: kept examples, prompts, and a count of where every candidate went (LIMA §2)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from pydantic import PositiveInt

from lima.config.sections import Filter
from lima.curation import decisions, hashing
from lima.curation.conversations import HAND_WRITTEN
from lima.curation.decisions import REASONS, Outcome
from lima.curation.dedup import NearDuplicateIndex
from lima.records import Candidate, Dropped, Example, Funnel, Prompt, Record
from lima.text import pii

Kind = TypeVar("Kind", Example, Prompt)


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
        return (record, Counter()) if self._hand_written else pii.without(record)

    def _counted(self, drop: Dropped) -> Dropped:
        self._dropped[drop.reason] += 1
        return drop

    def _distinct(self, passed: list[Passed[Kind]]) -> tuple[list[Passed[Kind]], list[Dropped]]:
        """Of near duplicates the one whose answer has more votes, then the longer one, then the smaller id."""
        seen, distinct, repeated = NearDuplicateIndex(self._p.near_duplicates), list[Passed[Kind]](), list[Dropped]()
        for one in sorted(passed, key=_worth):
            if twin := seen.twin(one.record):
                repeated.append(decisions.dropped(one.candidate, "near_duplicate", str(twin)))
            else:
                distinct.append(one)
        return distinct, repeated

    def _rank(self, candidate: Candidate) -> tuple[str, float, str]:
        merit = -float(candidate.score or 0) if self._voted else hashing.hash_uniform(self._p.seed, candidate.id)
        return candidate.provenance.site, merit, candidate.id


def _worth(passed: Passed[Kind]) -> tuple[int, int, str]:
    return -(passed.candidate.response_score or 0), -len(passed.record.messages[-1].content), passed.record.id
