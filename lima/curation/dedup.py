"""Near-duplicate detection with MinHash; the paper gives no procedure (LIMA §2).

MinHash signatures in LSH bands (rensa) select the pairs to compare. The exact Jaccard index J = |A ∩ B| / |A ∪ B| of
the two sets of word n-grams decides. With b bands of r rows, a pair is compared with probability 1 − (1 − J^r)^b: for
32 × 4 and J = 0.7 that is 0.9998, squared if the answers are compared as well. False candidates cost time only.
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
    exchange: RMinHash
    answer: RMinHash | None  # None for a prompt, which has no answer


class NearDuplicateIndex:
    """Index of the kept records, with which each new record is compared.

    Two records are near duplicates if both their whole exchanges and their answers are similar. Instances of a task
    share its definition, and short answers such as a number repeat; neither makes a near duplicate. Exchanges and
    answers have separate LSH bands, and only records found in both are compared: a shared task definition alone would
    put thousands of instances in the same bands.
    """

    def __init__(self, settings: NearDuplicates, kept: Iterable[Example | Prompt] = ()) -> None:
        self._settings = settings
        self._kept: list[Example | Prompt] = []
        self._exchanges, self._answers = self._bands(), self._bands()
        self._unanswered: set[int] = set()  # indices in `_kept`
        for record in kept:
            self._add(record, self._signatures(record))

    def find(self, record: Example | Prompt) -> NearDuplicate | None:
        """The most similar kept record, the first of equals. Without a near duplicate the record is added as kept."""
        signatures = self._signatures(record)
        compared = [self._compare(record, self._kept[index]) for index in sorted(self._candidates(signatures))]
        best = max(compared, key=lambda duplicate: duplicate.jaccard, default=None)
        if best and best.jaccard >= self._settings.least_jaccard:
            return best
        self._add(record, signatures)
        return None

    def _candidates(self, signatures: Signatures) -> set[int]:
        """Indices in `_kept` of the records to compare."""
        indices = set(self._exchanges.query(signatures.exchange))
        if signatures.answer:
            indices &= self._unanswered.union(self._answers.query(signatures.answer))
        return indices

    def _add(self, record: Example | Prompt, signatures: Signatures) -> None:
        index = len(self._kept)
        self._exchanges.insert(index, signatures.exchange)
        if signatures.answer:
            self._answers.insert(index, signatures.answer)
        else:
            self._unanswered.add(index)
        self._kept.append(record)

    def _compare(self, record: Example | Prompt, other: Example | Prompt) -> NearDuplicate:
        """The smaller Jaccard index of two: of the whole exchanges, and of the answers if both have one."""
        words = self._settings.words
        index = jaccard(shingles(_text(record), words=words), shingles(_text(other), words=words))
        answers = _text(record, "assistant"), _text(other, "assistant")
        if all(answers):
            index = min(index, jaccard(*(shingles(answer, words=words) for answer in answers)))
        return NearDuplicate(other.id, index)

    def _bands(self) -> RMinHashLSH:
        settings = self._settings
        return RMinHashLSH(threshold=settings.least_jaccard, num_perm=settings.permutations, num_bands=settings.bands)

    def _signatures(self, record: Example | Prompt) -> Signatures:
        answer = _text(record, "assistant")
        return Signatures(self._signature(_text(record)), self._signature(answer) if answer else None)

    def _signature(self, text: str) -> RMinHash:
        signature = RMinHash(num_perm=self._settings.permutations, seed=0)
        signature.update(list(shingles(text, words=self._settings.words)))
        return signature


def shingles(text: str, *, words: int) -> frozenset[str]:
    """Word n-grams of the normalised text, n = `words`; a shorter text is one n-gram."""
    all_words = normalize.normalize(text).split()
    starts = range(max(1, len(all_words) - words + 1))
    return frozenset(" ".join(all_words[start : start + words]) for start in starts)


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right)


def _text(record: Example | Prompt, *roles: str) -> str:
    """Turns of these roles, by default user and assistant: many dialogues share one system turn."""
    return "\n".join(turn.content for turn in record.messages if turn.role in (roles or ("user", "assistant")))
