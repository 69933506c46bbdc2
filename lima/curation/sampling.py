"""Temperature sampling over categories such as sites, p_i ∝ n_i^(1/τ) (LIMA §2.1)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lima.errors import LimaError

Item = TypeVar("Item")
Array = npt.NDArray[np.float64]


class TooFewExamples(LimaError):
    """Fewer items are available than requested; the message gives the number in each pool."""


def probabilities(sizes: Mapping[str, int], *, temperature: float) -> dict[str, float]:
    """Probability of each category, p_i ∝ n_i^(1/τ): proportional for τ = 1, uniform for τ → ∞."""
    weights = {name: size ** (1 / temperature) for name, size in sizes.items() if size}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def draw(
    pools: Mapping[str, Sequence[Item]], count: int, *, temperature: float, rng: np.random.Generator
) -> list[Item]:
    """Draw `count` items without replacement: a category by its probability, then the best item left in it.

    Pools are in order of preference. An empty pool is removed and the probabilities of the others are renormalised.

    Raises:
        TooFewExamples: The pools have fewer than `count` items.
    """
    sizes = {name: len(pool) for name, pool in sorted(pools.items())}
    if count > sum(sizes.values()):
        raise TooFewExamples(f"{count} requested, {sum(sizes.values())} available: {sizes}")
    chances = probabilities(sizes, temperature=temperature)
    used = dict.fromkeys(sizes, 0)
    drawn: list[Item] = []
    remaining, shares = list(chances), np.array(list(chances.values()))
    cumulative = _cumulative(shares)
    while len(drawn) < count:
        # as rng.choice(len(remaining), p=…), which checks and sums the probabilities at each call
        position = int(cumulative.searchsorted(rng.random(), side="right"))
        name = remaining[position]
        drawn.append(pools[name][used[name]])
        used[name] += 1
        if used[name] == sizes[name]:
            del remaining[position]
            shares = np.delete(shares, position)
            cumulative = _cumulative(shares)
    return drawn


def _cumulative(shares: Array) -> Array:
    """Cumulative probabilities, the last one 1."""
    if not shares.size:
        return shares
    cumulative: Array = (shares / shares.sum()).cumsum()
    normalized: Array = cumulative / cumulative[-1]
    return normalized
