"""Project paths, relative to the working directory, and atomic replacement of output directories."""

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
ANNOTATIONS = Path("corpus/annotations")
REPLIES = WORK / "replies.sqlite"  # response cache of endpoints; kept across runs
DIGEST = "model.sha256"  # file in a checkpoint's folder: SHA-256 of its weights, hexadecimal
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
STAGING = ".publish"  # folder next to a result in which the new result is prepared; listed in .dvcignore
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")  # variables set by launchers

Arguments = ParamSpec("Arguments")


class DiskFull(LimaError):
    """The disk, a quota or a file size limit is exceeded. The message names the folder, the free bytes and the fix."""


class MountPoint(LimaError):
    """A result's folder is a mount point, which cannot be renamed. The message names the folder to mount instead."""


def result_dir(stage: str, key: str = "") -> Path:
    """Output folder of a stage: data/STAGE/KEY."""
    return DATA / stage / key


def responses(contestant: str, prompts: str) -> Path:
    """Responses of a contestant to a set of prompts: test, adversarial or dialogues."""
    return result_dir("sample", contestant) / ("responses.jsonl" if prompts == "test" else f"{prompts}.jsonl")


def annotations(evaluation: str) -> Path:
    """People's judgments of an evaluation."""
    return ANNOTATIONS / f"{evaluation}.jsonl"


def kept_dir(stage: str, key: str) -> Path:
    """Cache folder for partial results of a stage: work/kept/STAGE/KEY."""
    return WORK / "kept" / stage / key


@contextmanager
def exclusive(stage: str, key: str = "") -> Iterator[None]:
    """Hold the lock of a stage's working folder.

    Raises:
        FolderInUse: another process holds it.
    """
    name = f"{stage}@{quote(key, safe='')}" if key else stage
    with locks.hold(WORK / "locks" / f"{name}.lock", folder=WORK / stage / key):
        yield


def alone(stage: str) -> Callable[[Callable[Arguments, None]], Callable[Arguments, None]]:
    """Decorate a stage's main function so that its working folder, named by the first argument, is locked.

    If a launcher starts several processes, rank 0 holds the lock for all of them.
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
    """Yield an empty working folder that becomes the stage's result if the block does not raise.

    After a kill or an error the previous result is unchanged, and the incomplete folder remains below work/.
    """
    with (
        exclusive(stage, key),
        replacing(result_dir(stage, key), WORK / stage / key) as folder,
        report_disk_full(folder),
    ):
        yield folder


@contextmanager
def replacing(finished: Path, working: Path) -> Iterator[Path]:
    """Yield the empty folder `working`, which replaces `finished` if the block does not raise."""
    restore(finished)
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    yield working
    publish_folder(working, finished)
    shutil.rmtree(working)


def publish_folder(working: Path, finished: Path) -> None:
    """Atomically replace the folder `finished` by a clone of `working`, which may be on another file system.

    The clone (hard links, else copies) is written and synced below STAGING, next to `finished`. Then the previous
    result is renamed into STAGING, and the clone is renamed to `finished`. After a kill between the two renames the
    previous result is in STAGING, and `restore` moves it back. `working` is unchanged.

    Raises:
        DiskFull: the clone does not fit.
        MountPoint: `finished` is a mount point.
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
    """Recover from a kill in `publish_folder`: move the previous result back and remove the staging folder.

    Raises:
        MountPoint: `finished` is a mount point.
    """
    if os.path.ismount(finished):
        raise MountPoint(_mounted(finished))
    staging = finished.parent / STAGING / finished.name
    new, older = staging / "new", staging / "older"
    if older.exists() and (new.exists() or not finished.exists()):
        if finished.exists():  # it was being removed when the process was killed
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
        # EXDEV: a folder in a lower layer of an overlay file system, such as a container image
        _clone(finished, older.with_name("older.partial"))
        older.with_name("older.partial").rename(older)
        shutil.rmtree(finished)


def _mounted(finished: Path) -> str:
    return f"{finished} is a mount point, but a stage replaces the whole folder; mount {finished.parent} instead"


def _clone(source: Path, target: Path) -> None:
    """Clone a folder with hard links, or copies where links are not supported, and sync it to disk."""
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
    """Write a file's content, or a folder's entries, to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(staging: Path) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    with suppress(OSError):  # not empty: another result of the stage is being published
        staging.parent.rmdir()


@contextmanager
def report_disk_full(folder: Path) -> Iterator[None]:
    """Raise DiskFull if a disk, a quota or a file size limit is exceeded while the block writes below `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(folder).free
        raise DiskFull(
            f"{folder}: {error.strerror}, with {free:,} bytes free; the previous result is unchanged. Free space, or "
            "mount a larger disk at data/, link work/ to it and set TMPDIR to a folder on it; then run again"
        ) from error
