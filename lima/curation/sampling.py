"""Drawing sites so that small ones are heard (LIMA §2.1)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from lima.errors import LimaError

Item = TypeVar("Item")


class TooFewExamples(LimaError):
    """Fewer items than were asked for; says how many there are, and where."""


def probabilities(sizes: Mapping[str, int], *, temperature: float) -> dict[str, float]:
    """Chance of each category, p_i ∝ n_i^(1/τ); τ = 1 keeps the sizes' shares, τ → ∞ makes them equal."""
    weights = {name: size ** (1 / temperature) for name, size in sizes.items() if size}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def draw(
    pools: Mapping[str, Sequence[Item]], count: int, *, temperature: float, rng: np.random.Generator
) -> list[Item]:
    """`count` items, none twice: a category by its chance, then that category's best item left.

    Each pool is in order of preference. A pool that runs dry leaves the draw, and the others' chances grow.
    """
    sizes = {name: len(pool) for name, pool in sorted(pools.items())}
    if count > sum(sizes.values()):
        raise TooFewExamples(f"{count} wanted, {sum(sizes.values())} there: {sizes}")
    chance, taken = probabilities(sizes, temperature=temperature), dict.fromkeys(sizes, 0)
    drawn: list[Item] = []
    while len(drawn) < count:
        left = [name for name in chance if taken[name] < sizes[name]]
        shares = np.array([chance[name] for name in left])
        name = left[rng.choice(len(left), p=shares / shares.sum())]
        drawn.append(pools[name][taken[name]])
        taken[name] += 1
    return drawn
