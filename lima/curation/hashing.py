"""Deterministic hash-based random numbers, keyed by seed and name; independent of the order of calls."""

import hashlib
import heapq
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

Item = TypeVar("Item")


def hash_uniform(seed: int, name: str) -> float:
    """A number in [0, 1), uniform over names: the first 53 bits of SHA-256 of "seed:name".

    Prompts and examples are sampled with it and answers to them are recorded, so the formula must not change.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def fast_hash_uniform(seed: int, name: str) -> float:
    """A number in [0, 1), uniform over names, from XXH3: for reservoirs over millions of items."""
    return (xxh3_64_intdigest(f"{seed}:{name}".encode()) >> 11) / 2**53


def fast_hash_uniforms(seed: int, prefix: str, numbers: Sequence[int]) -> NDArray[np.float64]:
    """`fast_hash_uniform` of each name "PREFIXNUMBER", vectorised. Shape (numbers,)."""
    head = f"{seed}:{prefix}".encode()
    digests = np.array([xxh3_64_intdigest(head + b"%d" % number) for number in numbers], np.uint64)
    return (digests >> np.uint64(11)) / 2**53


def generator(seed: int, name: str) -> np.random.Generator:
    """An independent random generator for each name."""
    return np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()])


class Reservoir(Generic[Item]):
    """Reservoir sampling: keeps the `size` items with the smallest hash, independent of the order of offers."""

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._heap: list[tuple[float, str, int, Item]] = []
        self._offered = 0

    def offer(self, name: str, item: Item) -> None:
        """Offers an item. Among items with equal names the first ones are kept."""
        self._offered += 1
        entry = (-fast_hash_uniform(self._seed, name), name, self._offered, item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry[0] > self._heap[0][0]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[Item]:
        """The kept items in the order of their hashes, that is, shuffled."""
        return [item for *_, item in sorted(self._heap, key=lambda entry: (-entry[0], *entry[1:3]))]
