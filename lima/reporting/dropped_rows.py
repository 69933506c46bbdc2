"""Count and sample the rows that scrape, filter and mix dropped, for the data cards."""

from collections.abc import Sequence

from lima import jsonl, storage
from lima.curation import origins
from lima.curation.dropped_samples import WITHHELD, DroppedSamples
from lima.records import Dropped
from lima.reporting.composition import DropCount, Specimen
from lima.text import pii
from lima.text.html_to_markdown import to_markdown


class DroppedRows:
    """Counts by reason, with a random sample of each. The files of a source are read once for all arms."""

    def __init__(self, size: int, *, seed: int) -> None:
        """`size` is the number of rows sampled per stage and reason."""
        self._size, self._seed = size, seed
        self._of_source: dict[tuple[str, str], DroppedSamples] = {}

    def of_arm(self, arm: str, sources: Sequence[str], *, filtered: bool) -> list[DropCount]:
        """What an arm's examples were left over from; `filtered` if they passed the quality filters."""
        samples = DroppedSamples(self._size, seed=self._seed)
        for stage in ("scrape", "filter") if filtered else ("scrape",):
            for source in sources:
                samples.merge(self._sampled(stage, source))
        mixed = list(jsonl.read(storage.result_dir("mix", arm) / "dropped.jsonl", Dropped))
        for source in sources:
            samples.add("mix", (row for row in mixed if row.place.startswith(f"{source}/")), source=source)
        groups = list(samples.reasons())
        places = {row.place for group in groups if group.reason not in WITHHELD for row in group.shown}
        texts: dict[str, str] = {}
        for source in sources:
            ids = [place for place in places if place.startswith(f"{source}/")]
            texts |= origins.texts(source, ids, to_markdown=to_markdown)
        return [
            DropCount(
                stage=group.stage,
                reason=group.reason,
                meaning=group.meaning,
                counts=group.counts,
                shown=[_specimen(row, row.raw or texts.get(row.place, "")) for row in group.shown],
            )
            for group in groups
        ]

    def _sampled(self, stage: str, source: str) -> DroppedSamples:
        key = (stage, source)
        if key not in self._of_source:
            samples = DroppedSamples(self._size, seed=self._seed)
            path = storage.result_dir(stage, source) / "dropped.jsonl"
            samples.add(stage, jsonl.read(path, Dropped), source=source)
            self._of_source[key] = samples
        return self._of_source[key]


def _specimen(dropped: Dropped, text: str) -> Specimen:
    """Mask personal data; omit the whole text if it contains a secret."""
    shown = "" if pii.find_secret(text) else pii.mask(text).text
    return Specimen(dropped.place, pii.mask(dropped.detail).text, shown)
