"""Files that are compressed with zstd, as Reddit's monthly dumps are; damage is reported.

The decoder does not say whether the last frame ended or the file only stopped. So a seal, a frame of its own, is read
after the file: only behind whole frames does its text come out as the last of all.
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Protocol, cast

import zstandard

SUFFIX = ".zst"
WINDOW = 2**31  # bytes; the monthly dumps need it, zstandard's own limit is 2^27
PIECE = 2**17  # bytes of the file at a time
SEAL = b"\0the end of a whole file\0"
SEAL_FRAME = zstandard.compress(SEAL)


class Damaged(Exception):
    """What is wrong with a compressed file."""


class Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def reader(file: BinaryIO) -> Reader:
    """All frames one after the other, then the seal; skippable frames are skipped."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    return decompressor.stream_reader(cast(BinaryIO, _Sealed(file)), read_across_frames=True, read_size=PIECE)


def unsealed(blocks: Iterator[bytes], file: BinaryIO) -> Iterator[bytes]:
    """The blocks that come out of `reader`, without the seal. Raises Damaged, after the last bytes that are good."""
    given, last = 0, b""
    try:
        for block in blocks:
            if last and len(block) >= len(SEAL):
                yield last
                given, last = given + len(last), block
            else:  # one block so small that the seal may have begun before it
                last += block
    except zstandard.ZstdError as error:
        yield from _again(file, given)
        raise Damaged(str(error)) from error
    if not last.endswith(SEAL):
        yield last
        raise Damaged("its last frame does not end")
    yield last.removesuffix(SEAL)


class _Sealed:
    def __init__(self, file: BinaryIO) -> None:
        self._parts: list[BinaryIO] = [io.BytesIO(SEAL_FRAME), file]

    def read(self, size: int) -> bytes:
        while self._parts:
            if found := self._parts[-1].read(size):
                return found
            self._parts.pop()
        return b""


def _again(file: BinaryIO, given: int) -> Iterator[bytes]:
    """What comes after the first `given` bytes up to the damage, which takes its whole block with it: byte by byte."""
    file.seek(0)
    source = reader(file)
    while given and (skipped := source.read(min(given, PIECE))):
        given -= len(skipped)
    with suppress(zstandard.ZstdError):
        while found := source.read(1):
            yield found
