"""A stream divided into blocks of whole lines. Memory is bounded for lines of any length."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import rowscan
from numpy.typing import NDArray

BLOCK = 1 << 20  # bytes read at a time: more falls out of the processor's cache, fewer are all overhead
MOST = 1 << 20  # bytes of a line; an exchange's longest body is 30,000 characters, escaped ten times as much
HEAD = 1000  # bytes that are kept of a longer line

Fill = Callable[[memoryview], int]  # `readinto` of a file: how many bytes it put there, 0 at the end


@dataclass(frozen=True)
class LineBlock:
    bytes: NDArray[np.uint8]  # valid until the next block is asked for
    offset: int  # of its first byte in the stream
    line: int  # number of its first line, counted from 1
    lines: int


@dataclass(frozen=True)
class OverlongBlock:
    """A line of more bytes than `MOST`."""

    head: bytes
    size: int
    line: int


def blocks(fill: Fill) -> Iterator[LineBlock | OverlongBlock]:
    """A last line without end is given one."""
    buffer = bytearray(MOST + 2 * BLOCK)
    view, array = memoryview(buffer), np.frombuffer(buffer, np.uint8)
    held = searched = offset = 0  # bytes kept from before; of these, the ones that hold no line's end; bytes gone by
    line = 1
    while (filled := _fill(fill, view, held)) > held:
        cut = buffer.rfind(b"\n", searched, filled) + 1
        if cut:
            lines = rowscan.lines(array[:cut])
            yield LineBlock(array[:cut], offset, line, lines)
            offset, line = offset + cut, line + lines
            buffer[: filled - cut] = buffer[cut:filled]
            held = searched = filled - cut
        elif filled > MOST:
            head = bytes(view[: min(HEAD, filled)])
            skipped, held = _skip(fill, buffer, view)
            yield OverlongBlock(head, filled + skipped, line)
            offset, line, searched = offset + filled + skipped + 1, line + 1, 0
        else:
            held = searched = filled
    if held:
        buffer[held] = ord("\n")
        yield LineBlock(array[: held + 1], offset, line, 1)


def _fill(fill: Fill, view: memoryview, held: int) -> int:
    """Read a block behind what is held, less only at the end; how many bytes are there now."""
    filled = held
    while filled < held + BLOCK and (got := fill(view[filled : held + BLOCK])):
        filled += got
    return filled


def _skip(fill: Fill, buffer: bytearray, view: memoryview) -> tuple[int, int]:
    """Read on to the next line; how many bytes came before its end, and how many of what follows are held."""
    skipped = 0
    while filled := _fill(fill, view, 0):
        end = buffer.find(b"\n", 0, filled)
        if end >= 0:
            buffer[: filled - end - 1] = buffer[end + 1 : filled]
            return skipped + end, filled - end - 1
        skipped += filled
    return skipped, 0
