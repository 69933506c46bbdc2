"""Decontamination: n-gram overlap of training texts with tests, and the pool an arm may be drawn from (LIMA §2).

The paper gives no procedure. A run of n words in both texts is an overlap. A test text of fewer words counts as a whole
passage. A very short one counts only as a whole prompt: "What is love?" occurs in many texts by chance.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from operator import attrgetter
from typing import NamedTuple, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from lima.config.sections import Contamination, NearDuplicates
from lima.curation.dedup import NearDuplicateIndex
from lima.records import Dropped, Example, Prompt, Record
from lima.text import normalize
from lima.text.normalize import TurnWords

# In the order of the checks. Brackets name the detail of a Dropped.
REASONS = {
    "overlaps_test": "shares a passage with a dev or test prompt, or with a test set [words, location, the passage]",
    "same_prompt": "has the prompt of a held-out example or of an earlier example [that example's id]",
    "overlaps_held_out": "shares a passage with a held-out example [words, its id, the passage]",
    "near_duplicate": "near duplicate of a held-out example or of an earlier example [its id, Jaccard index]",
}


class Passage(NamedTuple):
    """A text to exclude from training, and its location: FILE:ROW, or a record's id."""

    place: str
    text: str


class SharedNgrams(NamedTuple):
    place: str
    span: str  # the shared words: the longest run that contains the first shared n-gram

    def __str__(self) -> str:
        words = self.span.split()
        shown = " ".join(words if len(words) <= 40 else [*words[:30], "…", *words[-10:]])
        return f"{len(words)} words of {self.place}: {shown!r}"


class NgramIndex:
    """Index of the n-grams of passages, for comparison with training texts."""

    def __init__(self, passages: Iterable[Passage], *, settings: Contamination) -> None:
        self._whole: dict[str, str] = {}  # normalised text → location
        self._runs: dict[int, dict[str, str]] = defaultdict(dict)  # length in words → n-gram → location
        for place, text in passages:
            words = normalize.normalize(text).split()
            self._whole.setdefault(" ".join(words), place)
            if len(words) >= settings.least_words:
                length = min(len(words), settings.words)
                for run in _ngrams(words, length):
                    self._runs[length].setdefault(run, place)
        self._lengths = sorted(self._runs, reverse=True)
        # Prefilter: hashes of the first words of all n-grams, as many as the shortest n-gram has. Hashes of
        # strings differ between processes, but a match is compared with the n-grams themselves.
        self._least = min(self._lengths, default=1)
        self._beginnings = {
            hash(tuple(run.split(maxsplit=self._least)[: self._least])) for runs in self._runs.values() for run in runs
        }

    def shared(self, example: Example, turns: Sequence[TurnWords] | None = None) -> SharedNgrams | None:
        """The overlap of the first turn that has one; None without overlap. `turns`: its words, if known."""
        overlaps = (self._overlap(turn) for turn in turns or TurnWords.of_record(example) if turn.role != "system")
        return next(filter(None, overlaps), None)

    def _overlap(self, turn: TurnWords) -> SharedNgrams | None:
        words = turn.words or turn.symbols
        starts = self._possible_starts(turn)
        for length in self._lengths if starts else ():
            runs = self._runs[length]
            for start in starts:
                if place := runs.get(" ".join(words[start : start + length])):
                    end = start + length
                    while end < len(words) and " ".join(words[end - length + 1 : end + 1]) in runs:
                        end += 1
                    return SharedNgrams(place, " ".join(words[start:end]))
        whole = " ".join(words)
        is_tested_prompt = turn.role == "user" and whole in self._whole
        return SharedNgrams(self._whole[whole], whole) if is_tested_prompt else None

    def _possible_starts(self, turn: TurnWords) -> list[int]:
        """Where the hash of the next words is one of the n-grams' first words."""
        hashes = turn.ngram_hashes(self._least)
        if self._beginnings.isdisjoint(hashes):
            return []
        return [start for start, value in enumerate(hashes) if value in self._beginnings]


def passages(records: Iterable[Example | Prompt], *, split: str = "") -> Iterator[Passage]:
    """Every turn except system turns, which many dialogues share. The location is "SPLIT, ID", or the id."""
    for record in records:
        place = f"{split}, {record.id}" if split else record.id
        yield from (Passage(place, turn.content) for turn in record.messages if turn.role != "system")


class PoolFunnel(Record):
    """Number of a source's examples offered to an arm, by what became of them."""

    source: str
    offered: NonNegativeInt
    held_out: NonNegativeInt
    excluded: NonNegativeInt  # by a tag that the arm excludes
    dropped: dict[str, PositiveInt]  # examples by reason
    drawn: NonNegativeInt
    left: NonNegativeInt  # clean but not drawn

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        total = self.held_out + self.excluded + sum(self.dropped.values()) + self.drawn + self.left
        if self.offered != total:
            raise ValueError(f"{self.offered} offered, but {total} held out, excluded, dropped, drawn or left")
        return self


class CleanPool(NamedTuple):
    examples: dict[str, list[Example]]  # by source
    dropped: list[Dropped]


class Rejection(Record):
    """An example that is removed from a pool, by its position: of all sources in order, before any is removed."""

    position: NonNegativeInt
    dropped: Dropped


def overlaps(offered: Mapping[str, Sequence[Example]], tests: NgramIndex) -> Iterator[Rejection]:
    """The examples that overlap with a test."""
    for position, example in enumerate(chain.from_iterable(offered.values())):
        if overlap := tests.shared(example):
            yield _rejection(position, example, "overlaps_test", str(overlap))


def without(offered: Mapping[str, Sequence[Example]], rejections: Iterable[Rejection]) -> dict[str, list[Example]]:
    """The examples that are not rejected, by source."""
    rejected = {rejection.position for rejection in rejections}
    position = count()
    return {
        source: [example for example in examples if next(position) not in rejected]
        for source, examples in offered.items()
    }


def without_overlap(offered: Mapping[str, Sequence[Example]], tests: NgramIndex) -> dict[str, list[Example]]:
    """The examples without an overlap with a test, by source: the candidates for the held-out set."""
    return without(offered, overlaps(offered, tests))


def clean_pool(
    offered: Mapping[str, Sequence[Example]],
    *,
    tests: NgramIndex,
    held_out: Sequence[Example],
    held_out_passages: NgramIndex,
    near: NearDuplicates,
) -> CleanPool:
    """Decontaminate and deduplicate an arm's candidate pool; see `rejections` for the arguments."""
    ordered = in_order(offered, held_out)
    rejected = rejections(ordered, tests=tests, held_out=held_out, held_out_passages=held_out_passages, near=near)
    return clean(ordered, list(rejected))


def in_order(offered: Mapping[str, Sequence[Example]], held_out: Iterable[Example]) -> dict[str, list[Example]]:
    """An arm's candidates without held-out examples, by site; the order within a site is unchanged."""
    ids = {example.id for example in held_out}
    return {
        source: [ex for ex in sorted(examples, key=attrgetter("provenance.site")) if ex.id not in ids]
        for source, examples in offered.items()
    }


def clean(ordered: Mapping[str, Sequence[Example]], rejected: Sequence[Rejection]) -> CleanPool:
    """The pool without the rejected examples."""
    return CleanPool(without(ordered, rejected), [rejection.dropped for rejection in rejected])


def rejections(
    ordered: Mapping[str, Sequence[Example]],
    *,
    tests: NgramIndex,
    held_out: Sequence[Example],
    held_out_passages: NgramIndex,
    near: NearDuplicates,
) -> Iterator[Rejection]:
    """Examples that overlap with a test or a held-out example, or repeat an earlier example.

    Of near duplicates the first is kept: by the recipe's order of sources, then by site, then in the order of the pool.

    Args:
        ordered: The pool of each source, from `in_order`.
        tests: Index of the test passages.
        held_out: The held-out examples.
        held_out_passages: Index of their passages.
        near: Settings of the search for near duplicates.
    """
    prompts = {normalize.comparison_key(example): example.id for example in held_out}
    index = NearDuplicateIndex(near, held_out)

    def rejection(example: Example) -> tuple[str, str] | None:
        turns = TurnWords.of_record(example)
        if overlap := tests.shared(example, turns):
            return "overlaps_test", str(overlap)
        if same := prompts.get(normalize.comparison_key(example)):
            return "same_prompt", f"as {same}"
        if overlap := held_out_passages.shared(example, turns):
            return "overlaps_held_out", str(overlap)
        duplicate = index.find(example, turns)
        return ("near_duplicate", str(duplicate)) if duplicate else None

    for position, example in enumerate(chain.from_iterable(ordered.values())):
        if fault := rejection(example):
            yield _rejection(position, example, *fault)
        else:
            prompts[normalize.comparison_key(example)] = example.id


def funnels(
    offered: Mapping[str, Sequence[Example]],
    pool: CleanPool,
    *,
    without: Sequence[str],
    held_out: Iterable[Example],
    train: Iterable[Example],
) -> list[PoolFunnel]:
    """One funnel per source; `without` lists the tags that the arm excludes."""
    held_out_ids, drawn_ids = {example.id for example in held_out}, {example.id for example in train}
    reason_by_id = {drop.place: drop.reason for drop in pool.dropped}
    rows = []
    for source, examples in offered.items():
        ids = [example.id for example in examples]
        reasons = [reason_by_id[id_] for id_ in ids if id_ in reason_by_id]
        drawn = sum(id_ in drawn_ids for id_ in ids)
        excluded = [example for example in examples if not set(without).isdisjoint(example.tags)]
        rows.append(
            PoolFunnel(
                source=source,
                offered=len(ids),
                held_out=sum(id_ in held_out_ids for id_ in ids),
                excluded=sum(example.id not in held_out_ids for example in excluded),
                dropped={reason: reasons.count(reason) for reason in REASONS if reason in reasons},
                drawn=drawn,
                left=len(pool.examples[source]) - drawn,
            )
        )
    return rows


def _rejection(position: int, example: Example, reason: str, detail: str) -> Rejection:
    return Rejection(position=position, dropped=Dropped(reason=reason, detail=detail, place=example.id, raw=""))


def _ngrams(words: list[str], length: int) -> Iterator[str]:
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))
