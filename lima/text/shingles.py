"""Near-duplicate detection with the exact Jaccard index of character shingles.

J(a, b) = |A ∩ B| / |A ∪ B|, with A and B the sets of character n-grams (n = `chars`) of the normalized texts. MinHash
estimates the same index; for a few thousand prompts the exact value is affordable.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from math import ceil

from lima.text.normalize import normalize

ROUNDING = 1e-9  # tolerance before ceil: a product of floats may exceed the exact integer


@dataclass(frozen=True)
class SimilarPair:
    first: str  # ids
    second: str
    jaccard: float


def shingles(text: str, *, chars: int) -> frozenset[str]:
    """Character n-grams of the normalized text; a text shorter than n is one shingle."""
    plain = normalize(text)
    return frozenset(plain[start : start + chars] for start in range(max(1, len(plain) - chars + 1)))


def pairs(texts: Mapping[str, str], *, chars: int) -> Iterator[SimilarPair]:
    """Yields each pair of texts with a common shingle, in the order of `texts`; all other pairs have index 0."""
    sets = {id_: shingles(text, chars=chars) for id_, text in texts.items()}
    ids_by_shingle: dict[str, list[str]] = defaultdict(list)  # of the texts before the current one
    for second, current in sets.items():
        shared = Counter(id_ for shingle in current for id_ in ids_by_shingle[shingle])
        for first, common in shared.items():
            yield SimilarPair(first, second, common / (len(sets[first]) + len(current) - common))
        for shingle in current:
            ids_by_shingle[shingle].append(second)


def near_duplicates(
    texts: Mapping[str, str], others: Mapping[str, str], *, chars: int, min_jaccard: float
) -> dict[str, SimilarPair]:
    """The most similar text of `others` for each of `texts` that has one with index ≥ `min_jaccard`.

    Prefix filtering: J(a, b) ≥ t requires |A ∩ B| ≥ t·|A|, so b contains at least one of any |A| − ⌈t·|A|⌉ + 1 shingles
    of a. Only texts that contain one of the rarest ones are compared.

    Args:
        texts: Text by id.
        others: Text by id.
        chars: Characters in a shingle.
        min_jaccard: Threshold in (0, 1].
    """
    other_sets = {id_: shingles(text, chars=chars) for id_, text in others.items()}
    ids_by_shingle: dict[str, list[str]] = defaultdict(list)
    for id_, other_set in other_sets.items():
        for shingle in other_set:
            ids_by_shingle[shingle].append(id_)
    duplicates = {}
    for id_, text in texts.items():
        own_set = shingles(text, chars=chars)
        count = len(own_set) - ceil(min_jaccard * len(own_set) - ROUNDING) + 1
        rarest = nsmallest(count, own_set, key=lambda shingle: (len(ids_by_shingle.get(shingle, ())), shingle))
        candidates = {other for shingle in rarest for other in ids_by_shingle.get(shingle, ())}
        similar = [
            SimilarPair(id_, other, len(own_set & other_sets[other]) / len(own_set | other_sets[other]))
            for other in sorted(candidates)
        ]
        best = max(similar, key=lambda pair: pair.jaccard, default=None)
        if best and best.jaccard >= min_jaccard:
            duplicates[id_] = best
    return duplicates


def closest(texts: Mapping[str, str], count: int, *, chars: int) -> list[SimilarPair]:
    """The `count` pairs with the highest Jaccard index, highest first."""
    return sorted(pairs(texts, chars=chars), key=lambda pair: (-pair.jaccard, pair.first, pair.second))[:count]
