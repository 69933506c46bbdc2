"""Passages that a training text shares with a text that tests the model: n-gram overlap (ours).

A run of n words that stands in both is an overlap. A test text of fewer words counts whole; one of very few only where
it is a whole prompt, since "What is love?" stands in many texts by chance.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lima.config.sections import Contamination
from lima.records import Example, Prompt, Turn
from lima.text import normalize


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


def _runs(words: list[str], length: int) -> Iterator[str]:
    return (" ".join(words[at : at + length]) for at in range(len(words) - length + 1))
