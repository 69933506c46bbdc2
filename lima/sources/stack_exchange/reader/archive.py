"""The XML tables of a Stack Exchange site as UTF-8 files, from a folder or from 7z archives.

The tables that are read of an archive are decoded into temporary files, which the system removes when they are closed
or the process is killed. So is a table in another encoding. The archives at archive.org contain all tables in one bzip2
stream, which is decoded in parallel.
"""

import codecs
import errno
import logging
import lzma
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import py7zr
from py7zr.exceptions import ArchiveError
from py7zr.io import Py7zBytesIO, Py7zIO, WriterFactory
from rapidgzip import IndexedBzip2File
from tqdm import tqdm

from lima import storage
from lima.display import visible_line
from lima.parallel.jobs import threads
from lima.sources.base import DumpError
from lima.sources.file_ranges import PackedBytes

ARCHIVE, POSTS, USERS, COMMENTS = ".7z", "Posts.xml", "Users.xml", "Comments.xml"
BZIP2 = b"\x04\x02\x02"  # method id in a 7z header
SIGNATURE = 32  # bytes before the compressed streams
CHUNK = 1 << 20  # bytes decoded at a time
DOWNLOAD_AGAIN = "download the archive again and compare its size with the publisher's"
# errors of the machine, not of the archive
MACHINE_ERRORS = storage.FULL | {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
}
# exceptions of py7zr and the decoder for archives that were truncated or changed at any byte
DAMAGE = (
    *(ArchiveError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, lzma.LZMAError),
    *(MemoryError, OSError, RuntimeError, TypeError, ValueError),
)
DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)")
DECLARATION = 1000  # bytes at the start of a table that contain its declaration
# Byte order marks, and the encodings of a leading `<`. UTF-32 precedes UTF-16, because its mark has the same prefix.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)


@dataclass(frozen=True)
class Table:
    """A table of a site in UTF-8."""

    shown: str  # its name in messages and in `place` of dropped rows
    file: BinaryIO

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.file.fileno()).st_size

    def read(self, at: int, size: int) -> bytes:
        return os.pread(self.file.fileno(), size, at)


class Entry(NamedTuple):
    """A file in an archive."""

    name: str  # its path
    start: int  # offset in the decompressed stream, bytes
    size: int  # bytes, decompressed
    crc: int | None


@contextmanager
def tables(files: Mapping[str, Path], wanted: Sequence[str]) -> Iterator[dict[str, Table]]:
    """Open a site's tables by name.

    Args:
        files: The file of each table, XML or an archive. The archive of Posts.xml may contain the other tables too.
        wanted: Names of the tables. All except those in `files` are optional.

    Raises:
        DumpError: An archive is damaged or lacks its table, an encoding is unknown, or the disk space is not enough.
    """
    with ExitStack() as stack:
        opened: dict[str, Table] = {}
        for name in (name for name in wanted if name in files):
            path = files[name]
            if not path.name.lower().endswith(ARCHIVE):
                opened[name] = Table(str(path), stack.enter_context(path.open("rb")))
                continue
            others = [other for other in wanted if other not in files] if name == POSTS else []
            opened |= _unpack(path, name, [name, *others], stack)
        yield {name: _in_utf8(table, stack) for name, table in opened.items()}


def check_disk_space(shown: str, size: int, *, free: int) -> None:
    """Raises DumpError if `size` bytes exceed the `free` ones."""
    if size > free:
        raise DumpError(
            f"not enough disk space for {shown}: up to {size} bytes needed, {free} free; set TMPDIR to a larger disk"
        )


@contextmanager
def report_damage(path: Path) -> Iterator[None]:
    """Convert errors that a damaged archive causes to DumpError. Errors of the machine are raised unchanged."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            raise
        raise DumpError(f"damaged 7z archive: {path} ({type(error).__name__}: {error}); {DOWNLOAD_AGAIN}") from error


def _unpack(path: Path, required: str, wanted: Sequence[str], stack: ExitStack) -> dict[str, Table]:
    """Decode tables of an archive into temporary files, which `stack` closes."""
    with ExitStack() as reading:
        with report_damage(path):
            archive = reading.enter_context(py7zr.SevenZipFile(path))
            packed = _bzip2(archive)
            listed = _entries(archive)
        entries = _site_entries(path, listed, required, wanted)
        folder = Path(tempfile.gettempdir())
        size = sum(entry.size for entry in entries.values())
        check_disk_space(str(path), size, free=shutil.disk_usage(folder).free)
        files = {name: stack.enter_context(tempfile.TemporaryFile()) for name in entries}
        with storage.report_disk_full(folder), report_damage(path):
            if packed:
                _decode(path, packed, [(entries[name], files[name]) for name in entries])
            else:
                methods = " and ".join(archive.archiveinfo().method_names)
                logging.getLogger(__name__).warning(
                    "%s is compressed with %s, not as one bzip2 stream; decoding it uses one core",
                    visible_line(str(path)),
                    methods,
                )
                archive.extract(targets=[entry.name for entry in entries.values()], factory=_Files(files))
            for file in files.values():
                file.flush()
    unpacked = {name: Table(f"{path}/{entries[name].name}", file) for name, file in files.items()}
    for name, table in unpacked.items():
        if table.size != entries[name].size:
            raise DumpError(f"{path}: {name} did not unpack to {entries[name].size} bytes; {DOWNLOAD_AGAIN}")
    return unpacked


def _bzip2(archive: py7zr.SevenZipFile) -> tuple[int, int] | None:
    """First byte and size of the bzip2 stream with all files; None for any other compression."""
    streams = archive.header.main_streams
    folders = streams.unpackinfo.folders if streams else []
    if len(folders) != 1 or len(folders[0].coders) != 1 or folders[0].coders[0]["method"] != BZIP2:
        return None
    [size] = streams.packinfo.packsizes
    return SIGNATURE + streams.packinfo.packpos, size


def _entries(archive: py7zr.SevenZipFile) -> dict[str, Entry]:
    """The archive's files by path."""
    entries: dict[str, Entry] = {}
    start = 0
    for entry in archive.list():
        if not entry.is_directory:
            entries.setdefault(entry.filename, Entry(entry.filename, start, entry.uncompressed, entry.crc32))
            start += entry.uncompressed
    return entries


def _site_entries(path: Path, entries: dict[str, Entry], required: str, wanted: Sequence[str]) -> dict[str, Entry]:
    """Entries by table name, from the archive's root or else from the only folder with the required table."""
    names = [name for name in entries if PurePosixPath(name).name == required]
    names = [required] if required in names else names
    if len(names) > 1:
        raise DumpError(
            f"{path} contains {len(names)} tables {required}: {', '.join(sorted(names)[:3])} …; "
            f"unpack it (7z x {path.name}) and replace it by the sites' folders"
        )
    if not names:
        raise _missing_table(path, entries, required)
    folder = PurePosixPath(names[0]).parent
    return {table: entries[str(folder / table)] for table in wanted if str(folder / table) in entries}


def _missing_table(path: Path, entries: dict[str, Entry], required: str) -> DumpError:
    names = sorted(entries)
    shown = ", ".join(names[:3]) or "nothing"
    if archives := [name for name in names if name.lower().endswith(ARCHIVE)]:
        site = path.name[: -len(ARCHIVE)]
        return DumpError(
            f"{path} contains other archives ({', '.join(archives[:3])} …) and no {required}; unpack it once "
            f"(7z x {path.name}), add its tables to the dumps as {site}-Posts.7z and {site}-Users.7z "
            f"and remove {path.name} from the dumps"
        )
    return DumpError(
        f"{path} contains {shown} … but no {required}, so it is not a Stack Exchange archive; remove it from the dumps"
    )


def _decode(path: Path, packed: tuple[int, int], tables_: Sequence[tuple[Entry, BinaryIO]]) -> None:
    """Decode parts of a bzip2 stream into files, in one pass. Their checksums are verified."""
    ordered = sorted(tables_, key=lambda table: table[0].start)
    # More threads than free cores double the processor time, so parallel workers divide the cores among them.
    stream = IndexedBzip2File(PackedBytes(path, *packed), parallelization=threads())
    end = ordered[-1][0].start + ordered[-1][0].size
    with stream, tqdm(total=end, unit="B", unit_scale=True, disable=None, desc=visible_line(str(path))) as bar:

        def parts(name: str, size: int) -> Iterator[bytes]:
            while size:
                if not (data := stream.read(min(size, CHUNK))):
                    raise EOFError(f"{name} is truncated: {size} bytes missing")
                size -= len(data)
                bar.update(len(data))
                yield data

        at = 0
        for entry, file in ordered:
            crc = 0
            for _ in parts(entry.name, entry.start - at):
                pass
            for data in parts(entry.name, entry.size):
                file.write(data)
                crc = zlib.crc32(data, crc)
            if entry.crc not in (None, crc):
                raise DumpError(
                    f"checksum mismatch: {entry.name} in {path} has {crc:08x} instead of {entry.crc:08x}; "
                    f"{DOWNLOAD_AGAIN}"
                )
            at = entry.start + entry.size


class _Files(WriterFactory):
    """Lets py7zr write each table into its file. No path of the archive is created."""

    def __init__(self, files: Mapping[str, BinaryIO]) -> None:
        self._files = files

    def create(self, filename: str) -> Py7zIO:
        file = self._files.get(PurePosixPath(filename).name)
        return _Writer(file) if file else Py7zBytesIO(filename, limit=0)  # a second file of that name is discarded


class _Writer(Py7zIO):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, s: bytes | bytearray) -> int:
        return self._file.write(s)

    def read(self, size: int | None = None) -> bytes:
        return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def flush(self) -> None:
        self._file.flush()

    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size


def _in_utf8(table: Table, stack: ExitStack) -> Table:
    """The table, or a temporary copy in UTF-8 if its encoding is another one."""
    encoding = _encoding(table)
    table.file.seek(0)
    if not encoding:
        return table
    folder = Path(tempfile.gettempdir())
    check_disk_space(table.shown, 2 * table.size, free=shutil.disk_usage(folder).free)
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - `stack` closes it
    try:
        with storage.report_disk_full(folder):
            for text in codecs.iterdecode(iter(lambda: table.file.read(CHUNK), b""), encoding):
                copy.write(text.encode())
            copy.flush()
    except UnicodeError as error:
        raise DumpError(
            f"{table.shown} is not valid {encoding}: {error}; download it again "
            f"or convert it: iconv -f {encoding} -t UTF-8 {table.shown}"
        ) from error
    copy.seek(0)
    return Table(table.shown, copy)


def _encoding(table: Table) -> str | None:
    """The encoding from which the table must be converted; None for UTF-8.

    A declared UTF-16 is ignored if the bytes are not UTF-16: `iconv` does not change the declaration.
    """
    head = table.read(0, DECLARATION)
    if name := next((name for mark, name in MARKS if head.startswith(mark)), None):
        return name
    if not (declared := DECLARED.match(head)):
        return None
    try:
        name = codecs.lookup(declared[1].decode()).name
    except LookupError as error:
        raise DumpError(
            f"unknown encoding in {table.shown}: {declared[1].decode()!r}; "
            f"convert the table: iconv -f ENCODING -t UTF-8 {table.shown}"
        ) from error
    return None if name.startswith(("utf", "ascii")) else name
