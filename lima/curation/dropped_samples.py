"""What the stages dropped, counted by reason, with a few of each to look at: the rest is not held in memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lima.curation import decontamination
from lima.curation.decisions import REASONS
from lima.curation.hashing import Reservoir
from lima.records import Dropped

WITHHELD = frozenset(("removed", "secret"))  # reasons whose texts are not to be shown
MEANINGS = REASONS | decontamination.REASONS


@dataclass(frozen=True)
class DropReason:
    """What one stage dropped for one reason."""

    stage: str
    reason: str
    meaning: str  # "" where the reason tells itself
    counts: Mapping[str, int]  # by source
    shown: list[Dropped]


class DroppedSamples:
    """`size` of each stage's and reason's dropped records, drawn evenly by the seed and their places."""

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._counts: dict[tuple[str, str], Counter[str]] = {}
        self._shown: dict[tuple[str, str], Reservoir[Dropped]] = {}

    def add(self, stage: str, dropped: Iterable[Dropped], *, source: str) -> None:
        for record in dropped:
            key = (stage, record.reason)
            if key not in self._counts:
                self._counts[key] = Counter()
                self._shown[key] = Reservoir(self._size, seed=self._seed)
            self._counts[key][source] += record.rows
            self._shown[key].offer(f"{record.place} {record.detail}", record)

    def found(self) -> Iterator[DropReason]:
        """Stages as they were added; within one, the filters' order of asking, other reasons by name."""
        stages = list(dict.fromkeys(stage for stage, _ in self._counts))
        order = list(MEANINGS)
        for stage, reason in sorted(
            self._counts,
            key=lambda key: (stages.index(key[0]), order.index(key[1]) if key[1] in MEANINGS else -1, key[1]),
        ):
            shown = self._shown[stage, reason].items()
            yield DropReason(stage, reason, MEANINGS.get(reason, ""), self._counts[stage, reason], shown)
