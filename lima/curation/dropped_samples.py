"""Reservoir samples of dropped records by stage and reason; only counts and samples are held in memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lima.curation import decontamination
from lima.curation.decisions import REASONS
from lima.curation.hashing import Reservoir
from lima.records import Dropped

WITHHELD = frozenset(("removed", "secret"))  # reasons whose texts must not be shown
MEANINGS = REASONS | decontamination.REASONS


@dataclass(frozen=True)
class DropReason:
    """The records that one stage dropped for one reason."""

    stage: str
    reason: str
    meaning: str  # "" if the reason has no description
    counts: Mapping[str, int]  # by source
    shown: list[Dropped]


class DroppedSamples:
    """A uniform sample of `size` dropped records for each stage and reason, keyed by seed and location."""

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._counts: dict[tuple[str, str], Counter[str]] = {}
        self._samples: dict[tuple[str, str], Reservoir[Dropped]] = {}

    def add(self, stage: str, dropped: Iterable[Dropped], *, source: str) -> None:
        for record in dropped:
            key = (stage, record.reason)
            if key not in self._counts:
                self._counts[key] = Counter()
                self._samples[key] = Reservoir(self._size, seed=self._seed)
            self._counts[key][source] += record.rows
            self._samples[key].offer(_name(record), record)

    def merge(self, other: "DroppedSamples") -> None:
        """Add the records of another source or stage, sampled with the same size and seed."""
        for key, counts in other._counts.items():
            self._counts.setdefault(key, Counter()).update(counts)
            sample = self._samples.setdefault(key, Reservoir(self._size, seed=self._seed))
            for record in other._samples[key].items():
                sample.offer(_name(record), record)

    def reasons(self) -> Iterator[DropReason]:
        """Stages in the order they were added; within a stage other reasons by name, then those of the filters."""
        stages = list(dict.fromkeys(stage for stage, _ in self._counts))
        order = list(MEANINGS)
        for stage, reason in sorted(
            self._counts,
            key=lambda key: (stages.index(key[0]), order.index(key[1]) if key[1] in MEANINGS else -1, key[1]),
        ):
            sample = self._samples[stage, reason].items()
            yield DropReason(stage, reason, MEANINGS.get(reason, ""), self._counts[stage, reason], sample)


def _name(record: Dropped) -> str:
    return f"{record.place} {record.detail}"
