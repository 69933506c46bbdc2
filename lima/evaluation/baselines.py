"""Baseline annotators (longest, random, always-tie, finished). They measure form, not quality."""

import hashlib
from collections.abc import Callable

import numpy as np

from lima.config.entries import BaselineAnnotator
from lima.evaluation.pairwise import Replies, Winner
from lima.records import JudgeReply, Response

Rule = Callable[[Response, Response], Winner]

GRAM = 4  # words of an n-gram
NOTICEABLE = 0.05  # smaller differences between two shares of repeated n-grams are a tie


def rule(annotator: BaselineAnnotator, *, seed: int) -> Rule:
    """Return the function of a baseline annotator."""
    match annotator.rule:
        case "longest":
            return longest
        case "always-tie":
            return always_tie
        case "finished":
            return finished
        case "random":
            return random_choice(seed)


def judge(a: Response, b: Response, decide: Rule) -> Replies:
    """Apply the rule in both orders, as for every annotator."""
    return (
        JudgeReply(first=a.contestant, value=decide(a, b), text=""),
        JudgeReply(first=b.contestant, value=decide(b, a), text=""),
    )


def longest(first: Response, second: Response) -> Winner:
    """Prefer the response with more characters."""
    return _more(len(first.text), len(second.text))


def always_tie(first: Response, second: Response) -> Winner:
    return "tie"


def finished(first: Response, second: Response) -> Winner:
    """Prefer a complete response to a truncated one; if both are equal, the one that repeats itself less.

    An empty response counts as truncated.
    """
    ended = [response.finish == "stop" and bool(response.text.strip()) for response in (first, second)]
    if ended[0] != ended[1]:
        return _more(ended[0], ended[1])
    shares = repeated(first.text), repeated(second.text)
    return "tie" if abs(shares[0] - shares[1]) < NOTICEABLE else _more(shares[1], shares[0])


def repeated(text: str) -> float:
    """Share of repeated word n-grams: 1 − distinct / all; 0 for a text without n-grams."""
    words = text.split()
    grams = [tuple(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def random_choice(seed: int) -> Rule:
    """Return a fair coin keyed by (seed, pair, prompt, sample); the result does not depend on the order shown."""

    def decide(first: Response, second: Response) -> Winner:
        pair = sorted([first.contestant, second.contestant])
        digest = hashlib.sha256("\n".join([*pair, first.prompt_id, str(first.sample)]).encode()).digest()
        rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
        winner = pair[rng.integers(2)]
        return "first" if winner == first.contestant else "second"

    return decide


def _more(first: float, second: float) -> Winner:
    if first == second:
        return "tie"
    return "first" if first > second else "second"
