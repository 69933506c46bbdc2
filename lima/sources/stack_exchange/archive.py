"""A site's .7z archives, as archive.org publishes them, as streams of the tables that are wanted.

Theirs hold all tables in one bzip2 stream, which is decoded in parallel as it is read and never unpacked to disk. An
archive of any other kind is unpacked into a temporary folder, and a warning says so.
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
from lima.sources.stack_exchange.bzip2_stream import AGAIN, Entry, Solid, Table, streamed, whole
from lima.sources.stack_exchange.xml_layout import HEAD, keeps_offsets, one_row_a_line, read

ARCHIVE, POSTS, USERS, COMMENTS = ".7z", "Posts.xml", "Users.xml", "Comments.xml"
BZIP2 = b"\x04\x02\x02"  # the method's number in a 7z header
SIGNATURE = 32  # bytes before the packed streams


def of_file(path: Path) -> Table:
    @contextmanager
    def opened() -> Iterator[Fill]:
        with path.open("rb", buffering=0) as file:
            yield one_row_a_line(file.readinto, shown=str(path))

    with path.open("rb", buffering=0) as file:
        head = read(file.readinto, HEAD)
    return Table(str(path), path.stat().st_size, opened, path if keeps_offsets(head, shown=str(path)) else None)


@contextmanager
def of_archive(path: Path, *, folder: Path, required: str = POSTS) -> Iterator[dict[str, Table]]:
    """Its Posts.xml and Users.xml, as far as it holds them; `folder` is for what has to be unpacked."""
    with ExitStack() as stack:
        archive = stack.enter_context(_opened(path))
        found = _of_site(path, _entries(archive), required, (POSTS, USERS))
        check_disk_space(path, sum(entry.size for entry in found.values()), free=shutil.disk_usage(folder).free)
        if (packed := _bzip2(archive)) is None:
            logging.getLogger(__name__).warning(
                "%s is packed with %s, not as one bzip2 stream: unpacking it to disk, which is slower",
                visible_line(str(path)),
                " and ".join(archive.archiveinfo().method_names),
            )
            yield _unpacked(path, archive, found, folder)
        else:
            solid = stack.enter_context(Solid(path, *packed))
            yield {name: streamed(path, entry, solid) for name, entry in found.items()}


@contextmanager
def unpacked(path: Path, tables: Sequence[str]) -> Iterator[Path]:
    """A temporary folder with the archive's Posts.xml, and those others of `tables` that it has."""
    with tempfile.TemporaryDirectory(prefix="lima-") as name, _opened(path) as archive:
        found = _of_site(path, _entries(archive), POSTS, tables)
        check_disk_space(path, sum(entry.size for entry in found.values()), free=shutil.disk_usage(name).free)
        _unpacked(path, archive, found, Path(name))
        yield Path(name, found[POSTS].name).parent


def check_disk_space(path: Path, size: int, *, free: int) -> None:
    if size > free:
        raise DumpError(f"{path} may need {size} bytes on disk, and {free} are free; set TMPDIR to a larger disk")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The archive, its header read."""
    with ExitStack() as stack:
        with whole(path):
            archive = stack.enter_context(py7zr.SevenZipFile(path))
            _entries(archive), _bzip2(archive)
        yield archive


def _of_site(path: Path, entries: dict[str, Entry], required: str, tables: Sequence[str]) -> dict[str, Entry]:
    """The tables by their names, from the archive's root or from the one folder that holds the required one."""
    names = [name for name in entries if PurePosixPath(name).name == required and _is_inside(name)]
    names = [required] if required in names else names
    if len(names) > 1:
        raise DumpError(
            f"{path} holds {len(names)} tables {required}: {', '.join(sorted(names)[:3])} …; "
            f"unpack it (7z x {path.name}) and put each site's folder into the dumps in its place"
        )
    if not names:
        raise _without(path, entries, required)
    folder = PurePosixPath(names[0]).parent
    return {table: entries[str(folder / table)] for table in tables if str(folder / table) in entries}


def _is_inside(name: str) -> bool:
    """Whether a name leads nowhere but below the folder into which it is unpacked."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _without(path: Path, entries: dict[str, Entry], required: str) -> DumpError:
    names = sorted(entries)
    shown = ", ".join(names[:3]) or "nothing"
    if archives := [name for name in names if name.lower().endswith(ARCHIVE)]:
        site = path.name[: -len(ARCHIVE)]
        return DumpError(
            f"{path} holds other archives ({', '.join(archives[:3])} …) and no {required}; unpack it once "
            f"(7z x {path.name}), put its tables into the dumps as {site}-Posts.7z and {site}-Users.7z "
            f"and take {path.name} out of them"
        )
    return DumpError(
        f"{path} holds no {required} but {shown} …; it is no Stack Exchange archive: take it out of the dumps"
    )


def _entries(archive: Any) -> dict[str, Entry]:
    """The archive's files, each where it lies in what is unpacked."""
    found: dict[str, Entry] = {}
    start = 0
    for entry in archive.list():
        if not entry.is_directory:
            found.setdefault(entry.filename, Entry(entry.filename, start, entry.uncompressed, entry.crc32))
            start += entry.uncompressed
    return found


def _bzip2(archive: Any) -> tuple[int, int] | None:
    """First byte and size of the one bzip2 stream that holds everything; None where it is packed otherwise."""
    streams = archive.header.main_streams
    folders = streams.unpackinfo.folders if streams else []
    if len(folders) != 1 or len(folders[0].coders) != 1 or folders[0].coders[0]["method"] != BZIP2:
        return None
    [size] = streams.packinfo.packsizes
    return SIGNATURE + streams.packinfo.packpos, size


def _unpacked(path: Path, archive: Any, found: dict[str, Entry], folder: Path) -> dict[str, Table]:
    with whole(path), storage.report_disk_full(folder):
        archive.extract(folder, targets=[entry.name for entry in found.values()])
    tables = {}
    for name, entry in found.items():
        file = folder / entry.name
        if file.is_symlink() or not file.is_file() or file.stat().st_size != entry.size:
            raise DumpError(f"{path}: {name} is not the file of {entry.size} bytes that it is said to be; {AGAIN}")
        table = of_file(file)
        tables[name] = Table(f"{path}/{name}", entry.size, table.open, table.file)
    return tables


@contextmanager
def tables(posts: Path, users: Path | None, *, folder: Path) -> Iterator[dict[str, Table]]:
    """A site's Posts.xml, and its Users.xml where it has one, of archives or files."""
    with ExitStack() as stack:
        found: dict[str, Table] = {}
        for name, path in ((POSTS, posts), (USERS, users)):
            if path and path.name.lower().endswith(ARCHIVE):
                found = stack.enter_context(of_archive(path, folder=folder, required=name)) | found
            elif path:
                found[name] = of_file(path)
        yield found
