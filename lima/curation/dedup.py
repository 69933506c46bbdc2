"""Near-duplicate detection with MinHash; the paper gives no procedure (LIMA §2).

MinHash signatures in LSH bands (rensa) select the pairs to compare. The exact Jaccard index J = |A ∩ B| / |A ∪ B| of
the two sets of word n-grams decides. With b bands of r rows, a pair is compared with probability 1 − (1 − J^r)^b: for
32 × 4 and J = 0.7 that is 0.9998, squared if the answers are compared as well. False candidates cost time only.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rensa import RMinHash, RMinHashLSH

from lima.config.sections import NearDuplicates
from lima.records import Example, Prompt
from lima.text import normalize
from lima.text.normalize import TurnWords


class NearDuplicate(NamedTuple):
    id: str
    jaccard: float

    def __str__(self) -> str:
        return f"of {self.id}, Jaccard {self.jaccard:.3f}"


class Signatures(NamedTuple):
    exchange: RMinHash
    answer: RMinHash | None  # None for a prompt, which has no answer


class Ngrams(NamedTuple):
    """Word n-grams of a record without its system turn, which many dialogues share; repeated ones are not removed."""

    exchange: list[str]
    answer: list[str]  # empty for a prompt; an empty answer has one empty n-gram


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
            self._add(record, self._signatures(self._ngrams(record)))

    def find(self, record: Example | Prompt, turns: Sequence[TurnWords] | None = None) -> NearDuplicate | None:
        """The most similar kept record, the first of equals. Without a near duplicate the record is added as kept.

        Args:
            record: The new record.
            turns: The normalized words of its turns, if they are known.
        """
        ngrams = self._ngrams(record, turns)
        signatures = self._signatures(ngrams)
        compared = [self._compare(ngrams, self._kept[index]) for index in sorted(self._candidates(signatures))]
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

    def _compare(self, ngrams: Ngrams, record: Example | Prompt) -> NearDuplicate:
        """The smaller Jaccard index of two: of the whole exchanges, and of the answers if both have one."""
        other = self._ngrams(record)
        index = jaccard(frozenset(ngrams.exchange), frozenset(other.exchange))
        if ngrams.answer and other.answer:
            index = min(index, jaccard(frozenset(ngrams.answer), frozenset(other.answer)))
        return NearDuplicate(record.id, index)

    def _bands(self) -> RMinHashLSH:
        settings = self._settings
        return RMinHashLSH(threshold=settings.least_jaccard, num_perm=settings.permutations, num_bands=settings.bands)

    def _ngrams(self, record: Example | Prompt, turns: Sequence[TurnWords] | None = None) -> Ngrams:
        turns = turns or TurnWords.of_record(record)
        length = self._settings.words
        exchange = word_ngrams(TurnWords.joined(turns, ("user", "assistant")), length)
        answers = [turn.content for turn in record.messages if turn.role == "assistant"]
        if not "\n".join(answers):
            return Ngrams(exchange, [])
        last = turns[-1]
        if len(answers) == 1 and last.role == "assistant" and len(last.words) >= length:
            return Ngrams(exchange, exchange[len(exchange) - (len(last.words) - length + 1) :])
        return Ngrams(exchange, word_ngrams(TurnWords.joined(turns, ("assistant",)), length))

    def _signatures(self, ngrams: Ngrams) -> Signatures:
        return Signatures(self._signature(ngrams.exchange), self._signature(ngrams.answer) if ngrams.answer else None)

    def _signature(self, ngrams: list[str]) -> RMinHash:
        signature = RMinHash(num_perm=self._settings.permutations, seed=0)
        signature.update(ngrams)
        return signature


def shingles(text: str, *, words: int) -> frozenset[str]:
    """Word n-grams of the normalized text, n = `words`; a shorter text is one n-gram."""
    return frozenset(word_ngrams(normalize.normalize(text).split(), words))


def word_ngrams(words: Sequence[str], length: int) -> list[str]:
    """All runs of `length` words, in order; fewer words are one n-gram."""
    if len(words) < length:
        return [" ".join(words)]
    return [*map(" ".join, zip(*(words[start:] for start in range(length)), strict=False))]


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right)
