"""Which texts are nearly the same: the Jaccard index of their shingles, exactly.

J(a, b) = |A ∩ B| / |A ∪ B|, with A and B the sets of runs of `chars` characters of the normalised texts. MinHash would
estimate the same number; a few thousand prompts are few enough for the number itself.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from math import ceil

ROUNDING = 1e-9  # by which a product of floats may exceed the whole number that it should be


@dataclass(frozen=True)
class SimilarPair:
    one: str  # ids
    other: str
    jaccard: float


def shingles(text: str, *, chars: int) -> frozenset[str]:
    """Runs of `chars` letters, digits and single spaces, case aside; a shorter text is one shingle."""
    plain = " ".join(re.findall(r"\w+", text.casefold())) or text.strip()
    return frozenset(plain[start : start + chars] for start in range(max(1, len(plain) - chars + 1)))


def pairs(texts: Mapping[str, str], *, chars: int) -> Iterator[SimilarPair]:
    """Each pair of texts that has a shingle in common, by ids in their order; the others have a Jaccard index of 0."""
    sets = {id_: shingles(text, chars=chars) for id_, text in texts.items()}
    holders: dict[str, list[str]] = defaultdict(list)  # shingle → ids seen so far
    for other, mine in sets.items():
        shared = Counter(one for shingle in mine for one in holders[shingle])
        for one, common in shared.items():
            yield SimilarPair(one, other, common / (len(sets[one]) + len(mine) - common))
        for shingle in mine:
            holders[shingle].append(other)


def near_duplicates(
    texts: Mapping[str, str], others: Mapping[str, str], *, chars: int, least: float
) -> dict[str, SimilarPair]:
    """For each of `texts` that reaches the index `least` (above 0) with one of `others`, the pair that is closest.

    J(a, b) ≥ t asks for |A ∩ B| ≥ t·|A|, so b holds one of any |A| − ⌈t·|A|⌉ + 1 shingles of a: the rarest here.
    """
    sets = {id_: shingles(text, chars=chars) for id_, text in others.items()}
    holders: dict[str, list[str]] = defaultdict(list)
    for id_, theirs in sets.items():
        for shingle in theirs:
            holders[shingle].append(id_)
    found = {}
    for one, text in texts.items():
        mine = shingles(text, chars=chars)
        enough = len(mine) - ceil(least * len(mine) - ROUNDING) + 1
        rarest = nsmallest(enough, mine, key=lambda shingle: (len(holders.get(shingle, ())), shingle))
        candidates = {other for shingle in rarest for other in holders.get(shingle, ())}
        pairs_ = [
            SimilarPair(one, other, len(mine & sets[other]) / len(mine | sets[other])) for other in sorted(candidates)
        ]
        best = max(pairs_, key=lambda pair: pair.jaccard, default=None)
        if best and best.jaccard >= least:
            found[one] = best
    return found


def closest(texts: Mapping[str, str], count: int, *, chars: int) -> list[SimilarPair]:
    """The `count` pairs of the highest index, highest first."""
    return sorted(pairs(texts, chars=chars), key=lambda pair: (-pair.jaccard, pair.one, pair.other))[:count]
