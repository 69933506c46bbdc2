"""Columnar scan of XML tables: a compiled extension extracts attributes from bytes without decoding rows.

Lines that are not certainly a plain row are flagged for the exact parser.
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
    """The lines of a block, and the attributes of those that are certainly rows."""

    block: Bytes
    names: Names
    start: Ints  # (lines,) offset of the line's first byte in the block
    end: Ints  # (lines,) offset past its last byte, without the line end
    odd: Mask  # (lines,) True if the exact parser must read the line
    numbers: Ints  # (numbers, lines) values in the order of `names.numbers`, 0 if missing
    spans: NDArray[np.int32]  # (lines, names, 2) offsets of a value's first byte and past its last, 0 if missing

    def has(self, name: str) -> Mask:
        """(lines,) True if the line has the attribute."""
        present: Mask = self.spans[:, self.names.names.index(name), 1] > 0
        return present

    def where(self, name: str) -> tuple[Ints, Ints, Ints]:
        """Indexes of the lines with the attribute, and its value's start and end in the block."""
        start, end = self.spans[:, self.names.names.index(name)].T
        lines = np.flatnonzero(end)
        return lines, start[lines], end[lines]


def scan(block: Bytes, lines: int, names: Names) -> Rows:
    """Scan a block of complete lines; the last line must have its line end."""
    return Rows(block, names, *rowscan.scan(block, lines, names))
