"""TF-IDF cosine similarity of texts, and the distance of one set of prompts from another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class SparseMatrix(Protocol):
    """The part of a SciPy sparse matrix that is used here."""

    @property
    def T(self) -> Self: ...
    def __matmul__(self, other: Self) -> Self: ...
    def toarray(self) -> Floats: ...


class Vectorizer(Protocol):
    """The part of a fitted TfidfVectorizer that is used here."""

    def transform(self, raw_documents: Sequence[str]) -> SparseMatrix: ...  # (texts, terms), rows of norm 1


@dataclass(frozen=True)
class Space:
    """A TF-IDF vector space. Its term weights come from one collection, so that all similarities are comparable."""

    vectorizer: Vectorizer

    def cosine(self, rows: Sequence[str], columns: Sequence[str]) -> Floats:
        """Cosine similarities, (rows, columns): 0 without a common term, 1 for equal texts."""
        product = self.vectorizer.transform(rows) @ self.vectorizer.transform(columns).T
        return np.clip(np.asarray(product.toarray(), dtype=np.float64), 0.0, 1.0)

    def nearest(self, texts: Sequence[str], others: Sequence[str]) -> Floats:
        """Similarity of each text to its nearest neighbour among `others`, (texts,)."""
        return np.asarray(self.cosine(texts, others).max(axis=1))


def to_others(similarities: Floats) -> Floats:
    """Similarity of each text to its nearest other text, (texts,), from the similarities of a set, (texts, texts)."""
    return np.asarray((similarities * (1 - np.eye(len(similarities)))).max(axis=1))


def wording(texts: Sequence[str], *, chars: tuple[int, int]) -> Space:
    """Character n-grams within words, weighted by (1 + ln tf) · idf.

    Args:
        texts: The collection that determines idf.
        chars: Smallest and largest n.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes about a second to import

    return Space(TfidfVectorizer(analyzer="char_wb", ngram_range=chars, sublinear_tf=True).fit(texts))


def subjects(texts: Sequence[str]) -> Space:
    """Words without English stop words, weighted the same way: measures topic rather than phrasing."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return Space(TfidfVectorizer(stop_words="english", sublinear_tf=True).fit(texts))


@dataclass(frozen=True)
class Distance:
    """How far a set of prompts is from the training prompts, compared with another set."""

    mean: float  # mean similarity of the set's prompts to their nearest training prompt
    others: float  # the same for the other set
    farther: float  # P(a prompt of the set is less similar than one of the other set), ties count ½; ½: no difference


def distance(space: Space, texts: Sequence[str], others: Sequence[str], training: Sequence[str]) -> Distance:
    """Compare two sets of prompts by their similarity to `training` (common-language effect size)."""
    nearest, other_nearest = space.nearest(texts, training), space.nearest(others, training)
    less = (nearest[:, None] < other_nearest[None, :]).mean() + (nearest[:, None] == other_nearest[None, :]).mean() / 2
    return Distance(float(nearest.mean()), float(other_nearest.mean()), float(less))
