"""Which texts are nearly the same: the Jaccard index of their shingles, exactly.

J(a, b) = |A ∩ B| / |A ∪ B|, with A and B the sets of runs of `chars` characters of the normalised texts. MinHash would
estimate the same number; a few thousand prompts are few enough for the number itself.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    one: str  # ids
    other: str
    jaccard: float


def shingles(text: str, *, chars: int) -> frozenset[str]:
    """Runs of `chars` letters, digits and single spaces, case aside; a shorter text is one shingle."""
    plain = " ".join(re.findall(r"\w+", text.casefold())) or text.strip()
    return frozenset(plain[start : start + chars] for start in range(max(1, len(plain) - chars + 1)))


def pairs(texts: Mapping[str, str], *, chars: int) -> Iterator[Pair]:
    """Each pair of texts that has a shingle in common, by ids in their order; the others have a Jaccard index of 0."""
    sets = {id_: shingles(text, chars=chars) for id_, text in texts.items()}
    holders: dict[str, list[str]] = defaultdict(list)  # shingle → ids seen so far
    for other, mine in sets.items():
        shared = Counter(one for shingle in mine for one in holders[shingle])
        for one, common in shared.items():
            yield Pair(one, other, common / (len(sets[one]) + len(mine) - common))
        for shingle in mine:
            holders[shingle].append(other)


def closest(texts: Mapping[str, str], count: int, *, chars: int) -> list[Pair]:
    """The `count` pairs of the highest index, highest first."""
    return sorted(pairs(texts, chars=chars), key=lambda pair: (-pair.jaccard, pair.one, pair.other))[:count]
