"""Distance of the format of responses from that of a training set, without any annotator (not in the paper).

The paper's hypothesis (§2) is that fine-tuning teaches format: the responses of an arm should then be nearer to the
format of its training set than those of the untuned base model. Content is not compared.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markdown_it import MarkdownIt
from numpy.typing import NDArray

from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant
from lima.records import Example
from lima.reporting.results import Results

# mark of a format → types of the Markdown tokens that show it
MARKS = {
    "bullet list": {"bullet_list_open"},
    "numbered list": {"ordered_list_open"},
    "heading": {"heading_open"},
    "code block": {"fence", "code_block"},
    "emphasis": {"strong_open", "em_open"},
    "table": {"table_open"},
}
PARAGRAPHS = "several paragraphs"
DRAWS = 200  # random draws from the training set
PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class FormatDistance:
    """Distances between the responses of a contestant and the responses of an arm's training set, 0 to 1."""

    arm: str
    contestant: str
    responses: int
    marks: float  # mean over the marks of |share of responses with it − share of training responses with it|
    words: float  # Kolmogorov–Smirnov distance between the numbers of words
    chance_marks: float  # mean of `marks` for as many random training responses: not 0, since samples vary
    chance_words: float


def measure(p: Params, results: Results) -> list[FormatDistance]:
    """Measure the contestants of each arm and the base model against the arm's training set."""
    formats = {
        name: _formats([response.text for response in results.responses[name]])
        for name, contestant in p.contestants.items()
        if isinstance(contestant, ArmContestant | BaseContestant) and results.responses[name]
    }
    found = []
    for arm, written in results.arms.items():
        training = _formats(answers(written.train))
        for name, responses in formats.items():
            contestant = p.contestants[name]
            own = isinstance(contestant, ArmContestant) and contestant.arm == arm
            base = isinstance(contestant, BaseContestant) and contestant.model == p.train.model
            if own or base:
                found.append(_measure(arm, name, responses, training, seed=p.report.seed))
    return found


def answers(examples: Iterable[Example]) -> list[str]:
    """The responses in examples: every assistant turn."""
    return [turn.content for example in examples for turn in example.messages if turn.role == "assistant"]


def marks(text: str) -> list[bool]:
    """Whether a text has each of MARKS, and several paragraphs."""
    tokens = PARSER.parse(text)
    types = {token.type for token in tokens} | {inner.type for token in tokens for inner in token.children or ()}
    paragraphs = sum(token.type == "paragraph_open" and token.level == 0 for token in tokens)
    return [*(not types.isdisjoint(shown) for shown in MARKS.values()), paragraphs > 1]


Formats = tuple[NDArray[np.float64], NDArray[np.int64]]  # marks (texts, marks) and words (texts)


def _formats(texts: Sequence[str]) -> Formats:
    return np.array([marks(text) for text in texts], float), np.array([len(text.split()) for text in texts])


def _measure(arm: str, contestant: str, responses: Formats, training: Formats, *, seed: int) -> FormatDistance:
    generator, number = np.random.default_rng(seed), len(responses[1])
    draws = generator.integers(len(training[1]), size=(DRAWS, number))
    chance = [_distance((training[0][draw], training[1][draw]), training) for draw in draws]
    chance_marks, chance_words = np.mean(chance, axis=0)
    of_marks, of_words = _distance(responses, training)
    return FormatDistance(arm, contestant, number, of_marks, of_words, float(chance_marks), float(chance_words))


def _distance(formats: Formats, training: Formats) -> tuple[float, float]:
    of_marks = np.abs(formats[0].mean(axis=0) - training[0].mean(axis=0)).mean()
    return float(of_marks), kolmogorov_smirnov(formats[1], training[1])


def kolmogorov_smirnov(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """The largest difference between two empirical distribution functions.

    scipy's ks_2samp gives the same, but computes a p-value too, with warnings for few values.
    """
    values = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
