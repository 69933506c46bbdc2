"""7z archives of Stack Exchange sites: the requested tables as byte streams.

The archives at archive.org contain all tables in one bzip2 stream. It is decoded in parallel while it is read and never
unpacked to disk. Archives with another compression are unpacked into a temporary folder, with a warning.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import py7zr

from lima import storage
from lima.display import visible_line
from lima.sources.base import DumpError
from lima.sources.blocks import Fill
from lima.sources.stack_exchange.reader.bzip2_stream import (
    DOWNLOAD_AGAIN,
    Entry,
    Solid,
    Table,
    report_damage,
    stream_table,
)
from lima.sources.stack_exchange.reader.xml_layout import HEAD, keeps_offsets, one_row_a_line, read

ARCHIVE, POSTS, USERS, COMMENTS = ".7z", "Posts.xml", "Users.xml", "Comments.xml"
BZIP2 = b"\x04\x02\x02"  # method id in a 7z header
SIGNATURE = 32  # bytes before the compressed streams


def of_file(path: Path) -> Table:
    """A table that is a file of its own."""

    @contextmanager
    def opened() -> Iterator[Fill]:
        with path.open("rb", buffering=0) as file:
            yield one_row_a_line(file.readinto, shown=str(path))

    with path.open("rb", buffering=0) as file:
        head = read(file.readinto, HEAD)
    return Table(str(path), path.stat().st_size, opened, path if keeps_offsets(head, shown=str(path)) else None)


@contextmanager
def of_archive(path: Path, *, folder: Path, required: str = POSTS) -> Iterator[dict[str, Table]]:
    """The Posts.xml and Users.xml of an archive, by table name.

    Args:
        path: The archive.
        folder: Temporary folder for archives that must be unpacked.
        required: Table without which DumpError is raised; the others are optional.
    """
    with ExitStack() as stack:
        archive = stack.enter_context(_opened(path))
        entries = _site_entries(path, _entries(archive), required, (POSTS, USERS))
        check_disk_space(path, sum(entry.size for entry in entries.values()), free=shutil.disk_usage(folder).free)
        if (packed := _bzip2(archive)) is None:
            logging.getLogger(__name__).warning(
                "%s is compressed with %s, not as one bzip2 stream; unpacking it to disk, which is slower",
                visible_line(str(path)),
                " and ".join(archive.archiveinfo().method_names),
            )
            yield _unpacked(path, archive, entries, folder)
        else:
            solid = stack.enter_context(Solid(path, *packed))
            yield {name: stream_table(path, entry, solid) for name, entry in entries.items()}


@contextmanager
def unpacked(path: Path, tables: Sequence[str]) -> Iterator[Path]:
    """Unpack tables into a temporary folder. Posts.xml is required, the others of `tables` are optional."""
    with tempfile.TemporaryDirectory(prefix="lima-") as name, _opened(path) as archive:
        entries = _site_entries(path, _entries(archive), POSTS, tables)
        check_disk_space(path, sum(entry.size for entry in entries.values()), free=shutil.disk_usage(name).free)
        _unpacked(path, archive, entries, Path(name))
        yield Path(name, entries[POSTS].name).parent


def check_disk_space(path: Path, size: int, *, free: int) -> None:
    """Raises DumpError if `size` bytes exceed the `free` ones."""
    if size > free:
        raise DumpError(
            f"not enough disk space for {path}: up to {size} bytes needed, {free} free; set TMPDIR to a larger disk"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open SevenZipFile whose header was read, so that a damaged header raises DumpError here."""
    with ExitStack() as stack:
        with report_damage(path):
            archive = stack.enter_context(py7zr.SevenZipFile(path))
            _entries(archive), _bzip2(archive)
        yield archive


def _site_entries(path: Path, entries: dict[str, Entry], required: str, tables: Sequence[str]) -> dict[str, Entry]:
    """Entries by table name, from the archive's root or else from the only folder with the required table."""
    names = [name for name in entries if PurePosixPath(name).name == required and _is_inside(name)]
    names = [required] if required in names else names
    if len(names) > 1:
        raise DumpError(
            f"{path} contains {len(names)} tables {required}: {', '.join(sorted(names)[:3])} …; "
            f"unpack it (7z x {path.name}) and replace it by the sites' folders"
        )
    if not names:
        raise _missing_table(path, entries, required)
    folder = PurePosixPath(names[0]).parent
    return {table: entries[str(folder / table)] for table in tables if str(folder / table) in entries}


def _is_inside(name: str) -> bool:
    """Whether a path in the archive stays within the folder into which it is unpacked."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


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


def _entries(archive: Any) -> dict[str, Entry]:
    """The archive's files by path, with their offsets in the decompressed stream."""
    entries: dict[str, Entry] = {}
    start = 0
    for entry in archive.list():
        if not entry.is_directory:
            entries.setdefault(entry.filename, Entry(entry.filename, start, entry.uncompressed, entry.crc32))
            start += entry.uncompressed
    return entries


def _bzip2(archive: Any) -> tuple[int, int] | None:
    """First byte and size of the bzip2 stream with all files; None for any other compression."""
    streams = archive.header.main_streams
    folders = streams.unpackinfo.folders if streams else []
    if len(folders) != 1 or len(folders[0].coders) != 1 or folders[0].coders[0]["method"] != BZIP2:
        return None
    [size] = streams.packinfo.packsizes
    return SIGNATURE + streams.packinfo.packpos, size


def _unpacked(path: Path, archive: Any, entries: dict[str, Entry], folder: Path) -> dict[str, Table]:
    with report_damage(path), storage.report_disk_full(folder):
        archive.extract(folder, targets=[entry.name for entry in entries.values()])
    tables = {}
    for name, entry in entries.items():
        file = folder / entry.name
        if file.is_symlink() or not file.is_file() or file.stat().st_size != entry.size:
            raise DumpError(f"{path}: {name} did not unpack to a file of {entry.size} bytes; {DOWNLOAD_AGAIN}")
        table = of_file(file)
        tables[name] = Table(f"{path}/{name}", entry.size, table.open, table.file)
    return tables


@contextmanager
def tables(posts: Path, users: Path | None, *, folder: Path) -> Iterator[dict[str, Table]]:
    """A site's Posts.xml and optional Users.xml, by table name, from archives or files."""
    with ExitStack() as stack:
        tables_: dict[str, Table] = {}
        for name, path in ((POSTS, posts), (USERS, users)):
            if path and path.name.lower().endswith(ARCHIVE):
                tables_ = stack.enter_context(of_archive(path, folder=folder, required=name)) | tables_
            elif path:
                tables_[name] = of_file(path)
        yield tables_
