"""A site's .7z archive, as archive.org publishes it: only the tables that are wanted leave it."""

import lzma
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import py7zr
from py7zr.exceptions import ArchiveError

from lima.sources.reading import DumpError

POSTS, USERS, COMMENTS = "Posts.xml", "Users.xml", "Comments.xml"
AGAIN = "fetch the archive again and compare its size with the publisher's"
# what py7zr was seen to raise on archives cut or changed at each of their bytes
DAMAGE = (
    ArchiveError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)


@contextmanager
def unpacked(path: Path, tables: Sequence[str] = (POSTS, USERS)) -> Iterator[Path]:
    """A temporary folder with the archive's Posts.xml, and those others of `tables` that it has."""
    with tempfile.TemporaryDirectory(prefix="lima-") as name:
        folder = Path(name)
        _unpack(path, folder, tables)
        yield folder


def _unpack(path: Path, folder: Path, tables: Sequence[str]) -> None:
    try:
        with py7zr.SevenZipFile(path) as archive:
            sizes = {entry.filename: entry.uncompressed for entry in archive.list() if not entry.is_directory}
            wanted = _wanted(path, sizes, free=shutil.disk_usage(folder).free, tables=tables)
            archive.extract(folder, targets=wanted)
    except (*DAMAGE, lzma.LZMAError) as error:
        raise DumpError(f"{path} is no whole 7z archive ({type(error).__name__}: {error}); {AGAIN}") from error
    for name in wanted:
        file = folder / name
        if file.is_symlink() or not file.is_file() or file.stat().st_size != sizes[name]:
            raise DumpError(f"{path}: {name} is not the file of {sizes[name]} bytes that it is said to be; {AGAIN}")


def _wanted(path: Path, sizes: dict[str, int], *, free: int, tables: Sequence[str] = (POSTS, USERS)) -> list[str]:
    """The names to unpack: at the archive's root, so none leads elsewhere, and together no larger than the disk."""
    if POSTS not in sizes:
        names = ", ".join(sorted(sizes)[:3]) or "nothing"
        raise DumpError(
            f"{path} holds no {POSTS} but {names} …; it is no Stack Exchange archive: take it out of the dumps"
        )
    wanted = [name for name in tables if name in sizes]
    size = sum(sizes[name] for name in wanted)
    if size > free:
        raise DumpError(f"{path} would unpack to {size} bytes, and {free} are free; set TMPDIR to a larger disk")
    return wanted
