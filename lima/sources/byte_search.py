"""Positions of a needle in a block of bytes, with the C library's memmem.

It is twice as fast as bytes.find, and it lets go of the interpreter, so that the next block is decompressed meanwhile.
"""

import ctypes

import numpy as np
from numpy.typing import NDArray

_memmem = ctypes.CDLL(None).memmem
_memmem.restype = ctypes.c_void_p
_memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)


def find(block: bytes | NDArray[np.uint8], needle: bytes, start: int, stop: int) -> int:
    """As block.find(needle, start, stop), for 0 ≤ start and stop ≤ len(block)."""
    if stop <= start:
        return -1 if needle or stop < start else start
    if isinstance(block, bytes):
        first = ctypes.cast(ctypes.c_char_p(block), ctypes.c_void_p).value or 0
    else:
        first = block.ctypes.data
    found: int | None = _memmem(first + start, stop - start, needle, len(needle))
    return -1 if found is None else found - first
