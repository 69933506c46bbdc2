"""The one bzip2 stream of an archive, decoded in parallel as it is read, and the tables in it."""

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
from lima.sources.stack_exchange.xml_layout import one_row_a_line

AGAIN = "fetch the archive again and compare its size with the publisher's"
PASSED = 1 << 20  # bytes of unwanted tables that are decoded at a time
# what the machine may lack while an archive is read, which says nothing of the archive
OF_THE_MACHINE = storage.FULL | {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
}
# what py7zr and the decoder were seen to raise on archives cut or changed at each of their bytes
DAMAGE = (
    *(ArchiveError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, lzma.LZMAError),
    *(MemoryError, OSError, RuntimeError, TypeError, ValueError),
)


@dataclass(frozen=True)
class Table:
    """One table of a site: a file, or a part of an archive."""

    shown: str  # its name in places
    size: int  # bytes
    open: Callable[[], AbstractContextManager[Fill]]
    file: Path | None  # where it can be read again at any place


@dataclass(frozen=True)
class Entry:
    name: str
    start: int  # in what is unpacked
    size: int
    crc: int | None


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Raises DumpError for what a damaged archive causes; an error of the machine stays what it is."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            raise
        raise DumpError(f"{path} is no whole 7z archive ({type(error).__name__}: {error}); {AGAIN}") from error


class Solid:
    """A context: the one stream of an archive, read forwards, and from the start again where that is asked for."""

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
            # The second reader is the decoder's own: closing it closes the file. With more threads than there are cores
            # for them it takes twice the processor time (measured), so workers beside each other share the cores out.
            self._stream = IndexedBzip2File(PackedBytes(self.path, *self._packed), parallelization=threads())
            self._at = 0
        while self._at < place:
            if not self.read(min(place - self._at, PASSED)):
                raise EOFError(f"{self._at} bytes, where a table begins at {place}")

    def read(self, size: int) -> bytes:
        assert self._stream
        found = self._stream.read(size)
        self._at += len(found)
        return found


def streamed(path: Path, entry: Entry, solid: Solid) -> Table:
    @contextmanager
    def opened() -> Iterator[Fill]:
        left, crc = entry.size, 0

        def fill(view: memoryview) -> int:
            nonlocal left, crc
            with whole(path):
                found = solid.read(min(left, len(view)))
                if left and not found:
                    raise EOFError(f"{entry.name} ends {left} bytes before its end")
            view[: len(found)] = found
            left, crc = left - len(found), zlib.crc32(found, crc)
            if not left and found and entry.crc not in (None, crc):
                raise DumpError(f"{path}: {entry.name} has the checksum {crc:08x}, not {entry.crc:08x}; {AGAIN}")
            return len(found)

        with whole(path):
            solid.seek(entry.start)
        yield one_row_a_line(fill, shown=shown)

    shown = f"{path}/{entry.name}"
    return Table(shown, entry.size, opened, None)
