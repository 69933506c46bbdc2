"""Diversity of prompt sets: distinct n-grams, nearest-neighbour similarity and clusters, at equal size."""

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
    words: float  # per prompt, mean
    distinct: tuple[float, ...]  # for each n of GRAMS: distinct n-grams / n-grams, among equally many words
    nearest: float  # cosine similarity of wording to the nearest other prompt of the set, mean
    clusters: float  # clusters of subjects among equally many prompts


@dataclass(frozen=True)
class Size:
    """The size at which sets are compared: that of the smallest set."""

    prompts: int
    words: int


def compare(
    sets: Mapping[str, Sequence[str]], *, chars: tuple[int, int], max_distance: float, draws: int, seed: int
) -> tuple[Size, dict[str, Diversity]]:
    """Compare sets at the size of the smallest one; measures are means over `draws` random subsets of each set.

    TF-IDF weights are fitted on all sets together. Clusters are those of average linkage, cut at `max_distance`
    (1 − cosine similarity).

    Args:
        sets: texts by name.
        chars: least and greatest length of the character n-grams for wording.
        seed: of the random orders, the same for every set.
    """
    size = Size(min(map(len, sets.values())), min(sum(len(words(text)) for text in texts) for texts in sets.values()))
    pooled = [text for texts in sets.values() for text in texts]
    wording, subjects = tfidf.wording(pooled, chars=chars), tfidf.subjects(pooled)
    measures = {}
    for name, texts in sets.items():
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(len(texts)) for _ in range(draws)]
        shuffled = [[texts[index] for index in order] for order in orders]
        parts = [np.ix_(order[: size.prompts], order[: size.prompts]) for order in orders]
        alike, related = wording.cosine(texts, texts), subjects.cosine(texts, texts)
        measures[name] = Diversity(
            prompts=len(texts),
            words=mean(len(words(text)) for text in texts),
            distinct=tuple(mean(distinct(order, n, size.words) for order in shuffled) for n in GRAMS),
            nearest=mean(float(tfidf.to_others(alike[part]).mean()) for part in parts),
            clusters=mean(clusters(related[part], max_distance=max_distance) for part in parts),
        )
    return size, measures


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def distinct(texts: Sequence[str], n: int, size: int) -> float:
    """Distinct-n within the first `size` words: distinct n-grams / n-grams; n-grams do not cross texts."""
    left, grams = size, []
    for text in texts:
        taken = list(islice(words(text), left))
        left -= len(taken)
        grams += [tuple(taken[start : start + n]) for start in range(len(taken) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def clusters(similarity: Floats, *, max_distance: float) -> int:
    """Number of clusters; `similarity`: (texts, texts)."""
    from sklearn.cluster import AgglomerativeClustering  # imported here: it takes seconds

    if len(similarity) < 2:
        return len(similarity)
    distance = 1 - similarity
    np.fill_diagonal(distance, 0.0)
    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=max_distance
    )
    return int(model.fit(distance).n_clusters_)
