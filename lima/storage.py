"""Where things lie, below the folder a command starts in, and atomic replacement of output folders."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec
from urllib.parse import quote

from lima import locks
from lima.errors import LimaError

DATA = Path("data")
WORK = Path("work")
REPORTS = Path("reports")
REPLIES = WORK / "replies.sqlite"  # of endpoints; kept when a result is published: a rerun asks nothing twice
DIGEST = "model.sha256"  # in a checkpoint's folder: that of its weights, hexadecimal
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
STAGING = ".publish"  # a folder beside a result, in which the next one is prepared; .dvcignore names it
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")  # as launchers name a process's rank

Arguments = ParamSpec("Arguments")


class DiskFull(LimaError):
    """Something could not be written for want of room; says where, how much is free, and what to do."""


class MountPoint(LimaError):
    """A result's folder is a mount point, which cannot be renamed; says which folder to mount instead."""


def result_dir(stage: str, key: str = "") -> Path:
    """The folder that a stage writes: data/STAGE/KEY."""
    return DATA / stage / key


def kept_dir(stage: str, key: str) -> Path:
    """What a stage has finished of a result that is not whole yet: work/kept/STAGE/KEY."""
    return WORK / "kept" / stage / key


@contextmanager
def exclusive(stage: str, key: str = "") -> Iterator[None]:
    """Hold the lock of a stage's working folder; FolderInUse where another process holds it."""
    name = f"{stage}@{quote(key, safe='')}" if key else stage
    with locks.hold(WORK / "locks" / f"{name}.lock", folder=WORK / stage / key):
        yield


def alone(stage: str) -> Callable[[Callable[Arguments, None]], Callable[Arguments, None]]:
    """Decorate a stage's main function: its working folder, named by the first argument, is locked while it runs.

    Of processes that a launcher starts together, the first one holds the lock for all.
    """

    def decorate(main: Callable[Arguments, None]) -> Callable[Arguments, None]:
        @wraps(main)
        def locked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
            if next((os.environ[name] for name in RANKS if name in os.environ), "0") != "0":
                return main(*args, **kwargs)
            with exclusive(stage, *(str(arg) for arg in args[:1])):
                return main(*args, **kwargs)

        return locked

    return decorate


@contextmanager
def publish(stage: str, key: str = "") -> Iterator[Path]:
    """An empty working folder that becomes the stage's result when the block ends well.

    A kill, or an error, leaves the older result as it was, and the half-finished folder below work/ to look into.
    """
    with (
        exclusive(stage, key),
        replacing(result_dir(stage, key), WORK / stage / key) as folder,
        report_disk_full(folder),
    ):
        yield folder


@contextmanager
def replacing(finished: Path, working: Path) -> Iterator[Path]:
    """An empty folder `working` that takes the place of `finished` when the block ends well."""
    restore(finished)
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    yield working
    publish_folder(working, finished)
    shutil.rmtree(working)


def publish_folder(working: Path, finished: Path) -> None:
    """Atomically replace the folder `finished` by a clone of `working`, which may be on another file system.

    The clone (hard links, else copies) is written and synced beside `finished`, below STAGING. Then the older result
    is renamed into STAGING, and the clone takes its place. A kill between the two renames leaves the older result
    there, and `restore` moves it back. `working` stays as it is.
    """
    restore(finished)
    staging = finished.parent / STAGING / finished.name
    new, older = staging / "new", staging / "older"
    try:
        with report_disk_full(finished.parent):
            _clone(working, new)
            if os.path.lexists(finished):
                _set_aside(finished, older)
            new.rename(finished)
            _sync(finished.parent)
    except BaseException:
        restore(finished)
        raise
    _remove(staging)


def restore(finished: Path) -> None:
    """Move back an older result that a kill in `put` left aside, and remove what else was left.

    Raises:
        MountPoint: `finished` could not be replaced later.
    """
    if os.path.ismount(finished):
        raise MountPoint(_mounted(finished))
    staging = finished.parent / STAGING / finished.name
    new, older = staging / "new", staging / "older"
    if older.exists() and (new.exists() or not finished.exists()):
        if finished.exists():  # the kill came while it was removed
            shutil.rmtree(finished)
        older.rename(finished)
    _remove(staging)


def _set_aside(finished: Path, older: Path) -> None:
    try:
        finished.rename(older)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise MountPoint(_mounted(finished)) from error
        if error.errno != errno.EXDEV:
            raise
        # a folder of a lower layer of an overlay file system, say of a container's image
        _clone(finished, older.with_name("older.partial"))
        older.with_name("older.partial").rename(older)
        shutil.rmtree(finished)


def _mounted(finished: Path) -> str:
    return f"{finished} is a mount point, and a stage replaces its folder as a whole; mount {finished.parent} instead"


def _clone(source: Path, target: Path) -> None:
    """Hard links to all files of a folder, copies where its file system or another one refuses links; synced."""
    target.mkdir(parents=True)
    folders = [target]
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            place.mkdir()
            folders.append(place)
            continue
        try:
            os.link(path, place, follow_symlinks=False)
        except OSError:
            shutil.copy2(path, place, follow_symlinks=False)
        if not place.is_symlink():
            _sync(place)
    for folder in folders:
        _sync(folder)


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's entries, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(staging: Path) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    with suppress(OSError):  # another result of the stage is being published
        staging.parent.rmdir()


@contextmanager
def report_disk_full(folder: Path) -> Iterator[None]:
    """Raises DiskFull where a disk, a quota or a limit on the size of files is met while writing below `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(folder).free
        raise DiskFull(
            f"{folder}: {error.strerror}, with {free:,} bytes free; the older result is unchanged. Make room, or use a "
            "larger disk: mount it at data/, link work/ to a folder on it, set TMPDIR to another one; then start again"
        ) from error
