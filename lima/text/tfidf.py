"""How similar texts are in their wording, by the cosine of TF-IDF, and how far one set is from another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """Weights learnt from one collection, so that all that is compared in it is measured alike."""

    vectorizer: Any  # sklearn's, fitted

    def cosine(self, rows: Sequence[str], columns: Sequence[str]) -> Floats:
        """(rows, columns): 0 without a run in common, 1 for equal texts."""
        product = self.vectorizer.transform(rows) @ self.vectorizer.transform(columns).T
        return np.clip(np.asarray(product.toarray(), dtype=np.float64), 0.0, 1.0)

    def nearest(self, texts: Sequence[str], others: Sequence[str]) -> Floats:
        """(texts,): the similarity of each to the one of `others` that is most like it."""
        return np.asarray(self.cosine(texts, others).max(axis=1))


def to_others(similar: Floats) -> Floats:
    """(texts,): of a set's (texts, texts), the similarity of each to the other one that is most like it."""
    return np.asarray((similar * (1 - np.eye(len(similar)))).max(axis=1))


def wording(texts: Sequence[str], *, chars: tuple[int, int]) -> Space:
    """Runs of `chars` characters (fewest, most) within words, each weighted by (1 + ln tf) · idf."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # imported here: a second, which the graph need not pay

    return Space(TfidfVectorizer(analyzer="char_wb", ngram_range=chars, sublinear_tf=True).fit(texts))


def subjects(texts: Sequence[str]) -> Space:
    """Whole words instead, without the commonest English ones: what is spoken of rather than how."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return Space(TfidfVectorizer(stop_words="english", sublinear_tf=True).fit(texts))


@dataclass(frozen=True)
class Distance:
    """How far one set of prompts is from the training prompts, beside another set."""

    mean: float  # similarity to the nearest training prompt, mean over the set
    others: float  # the same of the other set
    farther: float  # P(a prompt of the set is less similar than one of the others), ties one half; ½: no farther


def distance(space: Space, texts: Sequence[str], others: Sequence[str], training: Sequence[str]) -> Distance:
    mine, theirs = space.nearest(texts, training), space.nearest(others, training)
    less = (mine[:, None] < theirs[None, :]).mean() + (mine[:, None] == theirs[None, :]).mean() / 2
    return Distance(float(mine.mean()), float(theirs.mean()), float(less))
