"""Near duplicates: texts that share most of their word n-grams (ours; LIMA picked by hand).

MinHash signatures in bands (rensa) find who might be alike, and the exact Jaccard index J = |A ∩ B| / |A ∪ B| of the
two sets of n-grams decides. Of b bands with r rows each, a pair is looked at with probability 1 − (1 − J^r)^b: with
32 × 4 and J = 0.7 that is 0.9998, and its square where answers are looked up as well; so what the estimate misses is
rare, and what it wrongly finds does not count.
"""

from collections.abc import Iterable
from typing import NamedTuple

from rensa import RMinHash, RMinHashLSH

from lima.config.sections import NearDuplicates
from lima.records import Example, Prompt
from lima.text import normalize


class NearDuplicate(NamedTuple):
    id: str
    jaccard: float

    def __str__(self) -> str:
        return f"of {self.id}, Jaccard {self.jaccard:.3f}"


class Signatures(NamedTuple):
    whole: RMinHash
    answer: RMinHash | None  # of a prompt, which has none


class NearDuplicateIndex:
    """The records that were kept so far; a new one is compared with all of them.

    Two are alike if the whole exchanges are, and if the answers are: tasks share their definitions without being alike,
    and so do short answers, such as a number. Each has its bands, and only who is found in both is looked at: of a task
    with thousands of inputs, each would be in the bands of all others for the definition alone.
    """

    def __init__(self, p: NearDuplicates, kept: Iterable[Example | Prompt] = ()) -> None:
        self._p = p
        self._kept: list[Example | Prompt] = []
        self._wholes, self._answers = self._bands(), self._bands()
        self._unanswered: set[int] = set()  # places in `kept`
        for record in kept:
            self._add(record, self._signatures(record))

    def find(self, record: Example | Prompt) -> NearDuplicate | None:
        """The one most like it, of equals the first; if there is none, the record counts as kept."""
        signatures = self._signatures(record)
        alike = [self._likeness(record, self._kept[place]) for place in sorted(self._found(signatures))]
        best = max(alike, key=lambda twin: twin.jaccard, default=None)
        if best and best.jaccard >= self._p.least_jaccard:
            return best
        self._add(record, signatures)
        return None

    def _found(self, signatures: Signatures) -> set[int]:
        """Places in `kept` of those that may be like it."""
        found = set(self._wholes.query(signatures.whole))
        if signatures.answer:
            found &= self._unanswered.union(self._answers.query(signatures.answer))
        return found

    def _add(self, record: Example | Prompt, signatures: Signatures) -> None:
        place = len(self._kept)
        self._wholes.insert(place, signatures.whole)
        if signatures.answer:
            self._answers.insert(place, signatures.answer)
        else:
            self._unanswered.add(place)
        self._kept.append(record)

    def _likeness(self, one: Example | Prompt, other: Example | Prompt) -> NearDuplicate:
        """The smaller of the two indices: of the whole exchange, and of the answers."""
        words = self._p.words
        whole = jaccard(shingles(_text(one), words=words), shingles(_text(other), words=words))
        answers = _text(one, "assistant"), _text(other, "assistant")
        if all(answers):
            whole = min(whole, jaccard(*(shingles(answer, words=words) for answer in answers)))
        return NearDuplicate(other.id, whole)

    def _bands(self) -> RMinHashLSH:
        return RMinHashLSH(threshold=self._p.least_jaccard, num_perm=self._p.permutations, num_bands=self._p.bands)

    def _signatures(self, record: Example | Prompt) -> Signatures:
        answer = _text(record, "assistant")
        return Signatures(self._signature(_text(record)), self._signature(answer) if answer else None)

    def _signature(self, text: str) -> RMinHash:
        signature = RMinHash(num_perm=self._p.permutations, seed=0)
        signature.update(list(shingles(text, words=self._p.words)))
        return signature


def shingles(text: str, *, words: int) -> frozenset[str]:
    """Each run of `words` words, of the text's letters and digits in lower case; a shorter text is one run."""
    all_words = normalize.normalize(text).split()
    return frozenset(" ".join(all_words[at : at + words]) for at in range(max(1, len(all_words) - words + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


def _text(record: Example | Prompt, *roles: str) -> str:
    """The turns of these roles, or of user and assistant: many dialogues share one system turn."""
    return "\n".join(turn.content for turn in record.messages if turn.role in (roles or ("user", "assistant")))
