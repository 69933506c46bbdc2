"""Decontamination: n-gram overlap of training texts with tests, and the pool an arm may be drawn from (LIMA §2).

The paper gives no procedure. A run of n words in both texts is an overlap. A test text of fewer words counts as a whole
passage. A very short one counts only as a whole prompt: "What is love?" occurs in many texts by chance.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from lima.config.sections import Contamination, NearDuplicates
from lima.curation.dedup import NearDuplicateIndex
from lima.records import Dropped, Example, Prompt, Record, Turn
from lima.text import normalize

# In the order in which they are asked; the detail of a Dropped carries what is named in brackets.
REASONS = {
    "overlaps_test": "shares a passage with a dev or test prompt, or with a test set [words, place, the passage]",
    "same_prompt": "asks what a held-out example or one before it asks [that one's id]",
    "overlaps_held_out": "shares a passage with a held-out example [words, its id, the passage]",
    "near_duplicate": "almost the text of a held-out example or of one before it [its id, Jaccard index]",
}


class Passage(NamedTuple):
    """A text that is not to be trained on, and where it stands: FILE:ROW, or a record's id."""

    place: str
    text: str


class SharedNgrams(NamedTuple):
    place: str
    span: str  # the words shared, the longest run around the first that was found

    def __str__(self) -> str:
        words = self.span.split()
        shown = " ".join(words if len(words) <= 40 else [*words[:30], "…", *words[-10:]])
        return f"{len(words)} words of {self.place}: {shown!r}"


class NgramIndex:
    """The passages that training texts are compared with."""

    def __init__(self, passages: Iterable[Passage], *, p: Contamination) -> None:
        self._whole: dict[str, str] = {}
        self._runs: dict[int, dict[str, str]] = defaultdict(dict)  # by length: a run of words, and where it stands
        for place, text in passages:
            words = normalize.normalize(text).split()
            self._whole.setdefault(" ".join(words), place)
            if len(words) >= p.least_words:
                length = min(len(words), p.words)
                for run in _runs(words, length):
                    self._runs[length].setdefault(run, place)

    def shared(self, example: Example) -> SharedNgrams | None:
        """What the first turn that shares something shares."""
        return next((found for turn in example.messages if turn.role != "system" and (found := self._in(turn))), None)

    def _in(self, turn: Turn) -> SharedNgrams | None:
        words = normalize.normalize(turn.content).split()
        for length, runs in sorted(self._runs.items(), reverse=True):
            for at, run in enumerate(_runs(words, length)):
                if place := runs.get(run):
                    end = at + length
                    while end < len(words) and " ".join(words[end - length + 1 : end + 1]) in runs:
                        end += 1
                    return SharedNgrams(place, " ".join(words[at:end]))
        whole = " ".join(words)
        asked = turn.role == "user" and whole in self._whole
        return SharedNgrams(self._whole[whole], whole) if asked else None


def passages(records: Iterable[Example | Prompt], *, split: str = "") -> Iterator[Passage]:
    """Every turn except system turns, which many dialogues of a set share; its place is "SPLIT, ID", or the id."""
    for record in records:
        place = f"{split}, {record.id}" if split else record.id
        yield from (Passage(place, turn.content) for turn in record.messages if turn.role != "system")


class PoolFunnel(Record):
    """How many examples of a source an arm was offered, and where each of them went."""

    source: str
    offered: NonNegativeInt
    held_out: NonNegativeInt
    excluded: NonNegativeInt  # carry a tag that the arm does without
    dropped: dict[str, PositiveInt]  # examples a reason
    drawn: NonNegativeInt
    left: NonNegativeInt  # were fit, and not drawn

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        gone = self.held_out + self.excluded + sum(self.dropped.values()) + self.drawn + self.left
        if self.offered != gone:
            raise ValueError(f"{self.offered} offered, but {gone} held out, excluded, dropped, drawn or left")
        return self


class CleanPool(NamedTuple):
    fit: dict[str, list[Example]]  # by source
    dropped: list[Dropped]


def without_overlap(offered: Mapping[str, Sequence[Example]], tests: NgramIndex) -> dict[str, list[Example]]:
    """What may be held out: the examples that share no passage with a test."""
    return {source: [one for one in examples if not tests.shared(one)] for source, examples in offered.items()}


def clean_pool(
    offered: Mapping[str, Sequence[Example]],
    *,
    tests: NgramIndex,
    held_out: Sequence[Example],
    held_out_passages: NgramIndex,
    near: NearDuplicates,
) -> CleanPool:
    """Of two alike, the one of the source that the recipe names first stays, then the first by site and in its pool."""
    ids = {example.id for example in held_out}
    prompts = {normalize.comparison_key(example): example.id for example in held_out}
    seen = NearDuplicateIndex(near, held_out)

    def fault(example: Example) -> tuple[str, str] | None:
        if found := tests.shared(example):
            return "overlaps_test", str(found)
        if same := prompts.get(normalize.comparison_key(example)):
            return "same_prompt", f"as {same}"
        if found := held_out_passages.shared(example):
            return "overlaps_held_out", str(found)
        twin = seen.find(example)
        return ("near_duplicate", str(twin)) if twin else None

    vetted = CleanPool({source: [] for source in offered}, [])
    for source, examples in offered.items():
        for example in sorted(examples, key=attrgetter("provenance.site")):
            if example.id in ids:
                continue
            if bad := fault(example):
                vetted.dropped.append(Dropped(reason=bad[0], detail=bad[1], place=example.id, raw=""))
            else:
                prompts[normalize.comparison_key(example)] = example.id
                vetted.fit[source].append(example)
    return vetted


def funnels(
    offered: Mapping[str, Sequence[Example]],
    vetted: CleanPool,
    *,
    without: Sequence[str],
    held_out: Iterable[Example],
    train: Iterable[Example],
) -> list[PoolFunnel]:
    held_ids, drawn_ids = {example.id for example in held_out}, {example.id for example in train}
    reason_of = {drop.place: drop.reason for drop in vetted.dropped}
    told = []
    for source, examples in offered.items():
        ids = [example.id for example in examples]
        reasons = [reason_of[id_] for id_ in ids if id_ in reason_of]
        drawn = sum(id_ in drawn_ids for id_ in ids)
        told.append(
            PoolFunnel(
                source=source,
                offered=len(ids),
                held_out=sum(id_ in held_ids for id_ in ids),
                excluded=sum(one.id not in held_ids and not {*without}.isdisjoint(one.tags) for one in examples),
                dropped={reason: reasons.count(reason) for reason in REASONS if reason in reasons},
                drawn=drawn,
                left=len(vetted.fit[source]) - drawn,
            )
        )
    return told


def _runs(words: list[str], length: int) -> Iterator[str]:
    return (" ".join(words[at : at + length]) for at in range(len(words) - length + 1))
