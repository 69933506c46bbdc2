"""Where things lie, below the folder a command starts in."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lima.errors import LimaError

DATA = Path("data")
WORK = Path("work")
REPORTS = Path("reports")
DIGEST = "model.sha256"  # in a checkpoint's folder: that of its weights, hexadecimal
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class DiskFull(LimaError):
    """Something could not be written for want of room; says where, how much is free, and what to do."""


def result(stage: str, key: str = "") -> Path:
    """The folder that a stage writes: data/STAGE/KEY."""
    return DATA / stage / key


def kept(stage: str, key: str) -> Path:
    """What a stage has finished of a result that is not whole yet: work/kept/STAGE/KEY."""
    return WORK / "kept" / stage / key


@contextmanager
def publish(stage: str, key: str = "") -> Iterator[Path]:
    """An empty working folder that becomes the stage's result when the block ends well.

    A kill, or an error, leaves the older result as it was, and the half-finished folder below work/ to look into.
    """
    with replacing(result(stage, key), WORK / stage / key) as folder, room(folder):
        yield folder


@contextmanager
def replacing(finished: Path, working: Path) -> Iterator[Path]:
    """An empty folder `working` that takes the place of `finished` when the block ends well.

    The older result is moved aside, not deleted, before the new one takes its place: a kill between the two moves
    leaves it beside `working`, and the next start moves it back.
    """
    restore(working, finished)
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    yield working
    put(working, finished)


def put(working: Path, finished: Path) -> None:
    """Let a working folder that is complete take the place of `finished`, which is moved aside until then."""
    finished.parent.mkdir(parents=True, exist_ok=True)
    if finished.exists():
        finished.rename(_aside(working))
    working.rename(finished)
    shutil.rmtree(_aside(working), ignore_errors=True)


def restore(working: Path, finished: Path) -> None:
    """Move back an older result that a kill left aside."""
    if _aside(working).exists() and not finished.exists():
        _aside(working).rename(finished)
    shutil.rmtree(_aside(working), ignore_errors=True)


def _aside(working: Path) -> Path:
    return working.with_name(f"{working.name}.older")


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Raises DiskFull where a disk, a quota or a limit on the size of files is met while writing below `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(folder).free
        raise DiskFull(
            f"{folder}: {error.strerror}, with {free:,} bytes free; the older result is as it was. "
            "Make room, or put work/, data/ and TMPDIR on a larger disk, and start again"
        ) from error
