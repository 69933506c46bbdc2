"""Chance that depends on the seed and a name alone, never on the order in which things come."""

import hashlib
import heapq
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


def share(seed: int, name: str) -> float:
    """A number in [0, 1), uniform over names: the first 53 bits of SHA-256 of "seed:name"."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def shares(seed: int, prefix: str, numbers: Sequence[int]) -> NDArray[np.float64]:
    """(numbers,) The share of each name "PREFIXNUMBER", in less than half the time that they take one by one."""
    begun = hashlib.sha256(f"{seed}:{prefix}".encode())
    digests = bytearray()
    for number in numbers:
        one = begun.copy()
        one.update(b"%d" % number)
        digests += one.digest()[:8]
    found: NDArray[np.float64] = (np.frombuffer(digests, ">u8") >> np.uint64(11)) / 2**53
    return found


def generator(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each name, so that one draw does not move another."""
    return np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()])


class Reservoir(Generic[Item]):
    """The `size` items with the smallest share: a uniform sample of a stream, the same in whatever order it runs."""

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._heap: list[tuple[float, str, int, Item]] = []
        self._offered = 0

    def offer(self, name: str, item: Item) -> None:
        """Of items that share a name, the order in which they come decides."""
        self._offered += 1
        entry = (-share(self._seed, name), name, self._offered, item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry[0] > self._heap[0][0]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[Item]:
        """In the order of their shares: shuffled."""
        return [item for *_, item in sorted(self._heap, key=lambda entry: (-entry[0], *entry[1:3]))]
