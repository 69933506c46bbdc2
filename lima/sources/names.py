"""The attributes' names of a table, found by the bytes before each value without a look at any one of them.

Words are eight bytes at a time, little-endian.
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Names:
    """The attributes that a table's rows may have, at most 63 of at most 24 characters."""

    def __init__(self, *names: str) -> None:
        words = [[_word(name, last) for name in names] for last in (0, 8, 16)]
        lengths, firsts = np.array([len(name) for name in names]), np.array([ord(name[0]) for name in names])
        keys = _keys(np.array(words[0], np.uint64), lengths, firsts)
        order = np.argsort(keys)
        self.names = tuple(names[n] for n in order)
        self.bits = {name: 1 << n for n, name in enumerate(self.names)}
        self._keys = keys[order]
        self._lengths = lengths[order]
        self._words = [np.array(word, np.uint64)[order] for word in words]
        self._masks = [np.array([_mask(len(name), last) for name in self.names], np.uint64) for last in (0, 8, 16)]
        assert len(set(self._keys.tolist())) == len(names) < 64, "two names would be taken for one another"

    def find(self, words: Words, firsts: Bytes, ends: Ints, lengths: Ints) -> tuple[Ints, Mask]:
        """The index of each name, told by its first letter, end and length, and whether it is a known one."""
        short = (np.clip(8 - lengths, 0, 7) * 8).astype(np.uint64)
        suffix = (words[np.maximum(ends - 8, 0)] >> short) << short
        index = np.searchsorted(self._keys, _keys(suffix, lengths, firsts))
        index[index == len(self._keys)] = 0
        known = (self._words[0][index] == suffix) & (self._lengths[index] == lengths)
        for last, word, mask in zip((16, 24), self._words[1:], self._masks[1:], strict=True):
            far = np.flatnonzero(lengths > last - 8)
            before = words[np.maximum(ends[far] - last, 0)] & mask[index[far]]
            known[far] &= before == word[index[far]]
        return index, known


def _keys(suffix: Words, lengths: Ints, firsts: NDArray[np.integer]) -> Words:
    return suffix + (lengths + (firsts.astype(np.int64) << 8)).astype(np.uint64)


def _word(name: str, last: int) -> int:
    """The eight bytes of a name before its `last` ones; zeros where it is shorter."""
    part = name.encode()[max(len(name) - last - 8, 0) : max(len(name) - last, 0)]
    return int.from_bytes(part.rjust(8, b"\0"), "little")


def _mask(length: int, last: int) -> int:
    return int.from_bytes((b"\xff" * max(min(length - last, 8), 0)).rjust(8, b"\0"), "little")
