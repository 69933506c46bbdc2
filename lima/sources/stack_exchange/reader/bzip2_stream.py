"""Parallel decoding of the bzip2 stream of a 7z archive, and the tables in it."""

import errno
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from py7zr.exceptions import ArchiveError
from rapidgzip import IndexedBzip2File

from lima import storage
from lima.parallel.jobs import threads
from lima.sources.base import DumpError
from lima.sources.blocks import Fill
from lima.sources.file_ranges import PackedBytes
from lima.sources.stack_exchange.reader.xml_layout import one_row_a_line

DOWNLOAD_AGAIN = "download the archive again and compare its size with the publisher's"
SKIP_CHUNK = 1 << 20  # bytes decoded at a time while skipping tables
# errors of the machine, not of the archive
MACHINE_ERRORS = storage.FULL | {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
}
# exceptions of py7zr and the decoder for archives that were truncated or changed at any byte
DAMAGE = (
    *(ArchiveError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, lzma.LZMAError),
    *(MemoryError, OSError, RuntimeError, TypeError, ValueError),
)


@dataclass(frozen=True)
class Table:
    """A table of a site: a file, or a part of an archive."""

    shown: str  # its name in messages and in `place` of dropped rows
    size: int  # bytes
    open: Callable[[], AbstractContextManager[Fill]]
    file: Path | None  # for random access; None if the table must be read as a stream


@dataclass(frozen=True)
class Entry:
    """A file in an archive."""

    name: str
    start: int  # offset in the decompressed stream, bytes
    size: int  # bytes, decompressed
    crc: int | None


@contextmanager
def report_damage(path: Path) -> Iterator[None]:
    """Convert errors that a damaged archive causes to DumpError. Errors of the machine are raised unchanged."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            raise
        raise DumpError(f"damaged 7z archive: {path} ({type(error).__name__}: {error}); {DOWNLOAD_AGAIN}") from error


class Solid:
    """Context manager: the decompressed stream of a solid archive. Seeking backwards decodes from the start again."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self.path = path
        self._packed = (start, size)
        self._at = 0
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None

    def seek(self, place: int) -> None:
        if self._stream is None or place < self._at:
            self.__exit__()
            # The decoder owns the second reader: closing the decoder closes the file. More threads than free cores
            # double the processor time, so parallel workers divide the cores among them.
            self._stream = IndexedBzip2File(PackedBytes(self.path, *self._packed), parallelization=threads())
            self._at = 0
        while self._at < place:
            if not self.read(min(place - self._at, SKIP_CHUNK)):
                raise EOFError(f"the stream ends at byte {self._at}, before the table at byte {place}")

    def read(self, size: int) -> bytes:
        assert self._stream
        data = self._stream.read(size)
        self._at += len(data)
        return data


def stream_table(path: Path, entry: Entry, solid: Solid) -> Table:
    """A table within the stream. Its checksum is verified at its end."""

    @contextmanager
    def opened() -> Iterator[Fill]:
        left, crc = entry.size, 0

        def fill(view: memoryview) -> int:
            nonlocal left, crc
            with report_damage(path):
                data = solid.read(min(left, len(view)))
                if left and not data:
                    raise EOFError(f"{entry.name} is truncated: {left} bytes missing")
            view[: len(data)] = data
            left, crc = left - len(data), zlib.crc32(data, crc)
            if not left and data and entry.crc not in (None, crc):
                raise DumpError(
                    f"checksum mismatch: {entry.name} in {path} has {crc:08x} instead of {entry.crc:08x}; "
                    f"{DOWNLOAD_AGAIN}"
                )
            return len(data)

        with report_damage(path):
            solid.seek(entry.start)
        yield one_row_a_line(fill, shown=shown)

    shown = f"{path}/{entry.name}"
    return Table(shown, entry.size, opened, None)
