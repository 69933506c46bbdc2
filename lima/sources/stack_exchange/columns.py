"""The rows of a table as columns, found on bytes alone by compiled code: no row is decoded.

What is not certain on bytes is not judged here but left to the exact parser, row by row.
"""

from dataclasses import dataclass

import numpy as np
import rowscan
from numpy.typing import NDArray
from rowscan import Names

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """A block's lines, and the attributes of those that are surely rows."""

    block: Bytes
    names: Names
    start: Ints  # (lines,) of its first byte in the block
    end: Ints  # (lines,) past its last byte, without the line's end
    odd: Mask  # (lines,) for the exact parser
    numbers: Ints  # (numbers, lines) in the order of `names.numbers`, 0 where there is none
    spans: NDArray[np.int32]  # (lines, names, 2) a value's first byte, and past its last; 0 where there is none

    def has(self, name: str) -> Mask:
        found: Mask = self.spans[:, self.names.names.index(name), 1] > 0
        return found

    def where(self, name: str) -> tuple[Ints, Ints, Ints]:
        """The lines that have the attribute, where its value begins and before which byte it ends."""
        start, end = self.spans[:, self.names.names.index(name)].T
        lines = np.flatnonzero(end)
        return lines, start[lines], end[lines]


def scan(block: Bytes, lines: int, names: Names) -> Rows:
    """A block is whole lines, the last one's end included."""
    return Rows(block, names, *rowscan.scan(block, lines, names))
