"""How diverse sets of prompts are, at equal size, so that a large set has no advantage over a small one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import mean

import numpy as np

from lima.text import tfidf
from lima.text.tfidf import Floats

GRAMS = (1, 2, 3)


@dataclass(frozen=True)
class Diversity:
    prompts: int  # in the whole set
    words: float  # a prompt, mean
    distinct: tuple[float, ...]  # of GRAMS words: different ones over all, among equally many words
    nearest: float  # similarity of wording to the nearest other prompt of the set, mean
    clusters: float  # subjects among equally many prompts


@dataclass(frozen=True)
class Size:
    """What of each set is compared: as much as the smallest set has."""

    prompts: int
    words: int


def compare(
    sets: Mapping[str, Sequence[str]], *, chars: tuple[int, int], max_distance: float, draws: int, seed: int
) -> tuple[Size, dict[str, Diversity]]:
    """Means over `draws` random orders of each set, of which as much is read as the smallest set holds.

    Weights are learnt from all sets together. Two prompts are of one cluster where average linkage joins them below
    `max_distance` (1 − cosine of their words).
    """
    size = Size(min(map(len, sets.values())), min(sum(len(words(text)) for text in of) for of in sets.values()))
    everything = [text for of in sets.values() for text in of]
    wording, subjects = tfidf.wording(everything, chars=chars), tfidf.subjects(everything)
    found = {}
    for name, texts in sets.items():
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(len(texts)) for _ in range(draws)]
        read = [[texts[place] for place in order] for order in orders]
        parts = [np.ix_(order[: size.prompts], order[: size.prompts]) for order in orders]
        alike, related = wording.cosine(texts, texts), subjects.cosine(texts, texts)
        found[name] = Diversity(
            prompts=len(texts),
            words=mean(len(words(text)) for text in texts),
            distinct=tuple(mean(distinct(order, n, size.words) for order in read) for n in GRAMS),
            nearest=mean(float(tfidf.to_others(alike[part]).mean()) for part in parts),
            clusters=mean(clusters(related[part], max_distance=max_distance) for part in parts),
        )
    return size, found


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def distinct(texts: Sequence[str], n: int, size: int) -> float:
    """Different runs of `n` words over all runs, within the first `size` words; none reaches over a text's end."""
    left, runs = size, []
    for text in texts:
        read = list(islice(words(text), left))
        left -= len(read)
        runs += [tuple(read[start : start + n]) for start in range(len(read) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0


def clusters(similar: Floats, *, max_distance: float) -> int:
    """`similar`: (texts, texts)."""
    from sklearn.cluster import AgglomerativeClustering  # imported here, as in similarity

    if len(similar) < 2:
        return len(similar)
    apart = 1 - similar
    np.fill_diagonal(apart, 0.0)
    joined = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=max_distance
    )
    return int(joined.fit(apart).n_clusters_)
