"""Whole lines of a file, plain or compressed (zstd, gzip), many at a time: a scan over bytes sets the pace, not Python.

Memory is bounded for every file: a block is read while the one before it is looked at, and of a line that is
longer than MAX_LINE only its length and its head are kept.
"""

import gzip
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lima.sources import byte_search, zst
from lima.sources.base import DumpError

GZIP = ".gz"
BLOCK = 2**20  # bytes read at a time: smaller ones wait longer for the interpreter than they take
AHEAD = 4  # blocks that are read before they are asked for
MAX_LINE = 2**24  # bytes; the longest posts of Reddit take a few hundred thousand
HEAD = 1000  # bytes shown of a longer line
CASE = 0x20  # the bit by which ASCII's small letters differ from capital ones


class Lines(NamedTuple):
    """Lines of a block, where they lie in it: nothing is copied, since copies cost as much as the scan."""

    number: int  # of the first, counted from 1
    block: bytes
    start: int  # of the first
    stops: NDArray[np.int64]  # (lines,) where each ends: at its line feed, or with the file


class OverlongLine(NamedTuple):
    number: int
    length: int  # bytes, the line's end included
    head: bytes


def read(path: Path) -> Iterator[Lines | OverlongLine]:
    """Raises DumpError where the file is empty, cut short or damaged."""
    done = 0
    try:
        for part in whole(blocks(path)):
            yield part
            done = part.number + len(part.stops) - 1 if isinstance(part, Lines) else part.number
    except zst.Damaged as error:
        where = f"after line {done}" if done else "at its start"
        raise DumpError(f"{path} is cut short or damaged {where} ({error}); fetch it again") from error
    if not done:
        raise DumpError(f"{path} is empty; fetch it again, or take it away")


def whole(blocks: Iterable[bytes]) -> Iterator[Lines | OverlongLine]:
    """The same bytes, cut at ends of lines."""
    number, length, begun = 1, 0, bytearray()  # of the line whose end has not come yet
    mask = np.empty(BLOCK, np.bool_)
    for block in blocks:
        first = block.find(b"\n") + 1
        begun += block[: min(first or len(block), MAX_LINE + 1 - len(begun))]
        length += first or len(block)
        if not first:
            continue
        yield _line(number, length, begun)
        number += 1
        stops = _line_feeds(block, mask if len(block) <= BLOCK else np.empty(len(block), np.bool_))[1:]
        if stops.size:
            yield Lines(number, block, first, stops)
            number += stops.size
        begun = bytearray(block[stops[-1] + 1 if stops.size else first :])
        length = len(begun)
    if length:
        yield _line(number, length, begun)


def each(part: Lines) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every line, without its end."""
    start = part.start
    for number, stop in enumerate(part.stops.tolist(), start=part.number):
        yield number, part.block[start:stop].rstrip(b"\r")
        start = stop + 1


def having(part: Lines, needles: Iterable[bytes], room: NDArray[np.uint8]) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of the lines in which one of the needles occurs, or which are not `{…}`; no other is cut out.

    The case of ASCII letters does not count: bytes are compared with the bit set that distinguishes `a` from `A`.
    Other pairs of characters differ by that bit too, so a line can be given in which no needle occurs. `room` is a
    buffer of BLOCK bytes.
    """
    block, stops = part.block, part.stops
    starts = np.concatenate(([part.start], stops[:-1] + 1))
    sign = np.frombuffer(block, np.uint8)
    found = set(np.flatnonzero((sign[starts] != ord("{")) | (sign[stops - 1] != ord("}"))).tolist())
    end = int(stops[-1])
    folded = np.bitwise_or(sign, CASE, out=room[: len(block)] if len(block) <= len(room) else None)
    for needle in needles:
        folded_needle = bytes(byte | CASE for byte in needle)
        at = byte_search.find(folded, folded_needle, part.start, end)
        while at >= 0:
            line = int(stops.searchsorted(at))
            found.add(line)
            at = byte_search.find(folded, folded_needle, int(stops[line]), end)
    for line in sorted(found):
        yield part.number + line, block[starts[line] : stops[line]].rstrip(b"\r")


def _line_feeds(block: bytes, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where they are; `mask` is room to work in, since fresh memory costs as much as the search."""
    return np.flatnonzero(np.equal(np.frombuffer(block, np.uint8), ord("\n"), out=mask[: len(block)]))


def _line(number: int, length: int, begun: bytearray) -> Lines | OverlongLine:
    if length > MAX_LINE:
        return OverlongLine(number, length, bytes(begun[:HEAD]))
    text = bytes(begun)
    return Lines(number, text, 0, np.array([len(text) - text.endswith(b"\n")]))


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed where its name ends in .zst or .gz. Raises zst.Damaged"""
    name = path.name.lower()
    with path.open("rb") as file:
        if name.endswith(zst.SUFFIX):
            yield from zst.unsealed(_ahead(partial(zst.reader(file).read, BLOCK)), file)
        elif name.endswith(GZIP):
            yield from _unzipped(file)
        else:
            yield from _ahead(partial(file.read, BLOCK))


def _unzipped(file: BinaryIO) -> Iterator[bytes]:
    """All members, one after the other."""
    with gzip.GzipFile(fileobj=file) as members:
        try:
            yield from _ahead(partial(members.read1, BLOCK))
        except (OSError, EOFError, zlib.error) as error:
            raise zst.Damaged(str(error)) from error


def _ahead(block: Callable[[], bytes]) -> Iterator[bytes]:
    """What `block` gives until it gives nothing, called on another thread some blocks ahead."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(block) for _ in range(AHEAD))
        while found := waiting.popleft().result():
            waiting.append(pool.submit(block))
            yield found
