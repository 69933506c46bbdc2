"""Rules that a real annotator has to beat. They look at form only and say nothing of worth."""

import hashlib
from collections.abc import Callable

import numpy as np

from lima.config.entries import FloorAnnotator
from lima.evaluation.pairwise import Ballots, Winner
from lima.records import Judgment, Response

Rule = Callable[[Response, Response], Winner]

GRAM = 4  # words that count as repeated when they return in the same order
NOTICEABLE = 0.05  # difference of two shares of repeated words; below it, a tie


def rule(floor: FloorAnnotator, *, seed: int) -> Rule:
    match floor.rule:
        case "longest":
            return longest
        case "always-tie":
            return always_tie
        case "finished":
            return finished
        case "random":
            return random_choice(seed)


def ballots(a: Response, b: Response, decide: Rule) -> Ballots:
    """In both orders, as every annotator is asked."""
    return (
        Judgment(first=a.contestant, winner=decide(a, b), reply=""),
        Judgment(first=b.contestant, winner=decide(b, a), reply=""),
    )


def longest(first: Response, second: Response) -> Winner:
    """More characters win."""
    return _more(len(first.text), len(second.text))


def always_tie(first: Response, second: Response) -> Winner:
    return "tie"


def finished(first: Response, second: Response) -> Winner:
    """What ended by itself beats what was cut off; among equals, what repeats itself less.

    An empty response never began, so it has not finished either.
    """
    ended = [response.finish == "stop" and bool(response.text.strip()) for response in (first, second)]
    if ended[0] != ended[1]:
        return _more(ended[0], ended[1])
    shares = repeated(first.text), repeated(second.text)
    return "tie" if abs(shares[0] - shares[1]) < NOTICEABLE else _more(shares[1], shares[0])


def repeated(text: str) -> float:
    """Share of a text's n-grams of words that stood in it before: 1 − distinct/all, 0 where there are none."""
    words = text.split()
    grams = [tuple(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def random_choice(seed: int) -> Rule:
    """A fair coin for each (seed, pair, prompt, sample), which falls the same whichever response is shown first."""

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
