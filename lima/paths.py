"""Where things lie, below the folder a command starts in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATA = Path("data")
WORK = Path("work")
REPORTS = Path("reports")


def result(stage: str, key: str = "") -> Path:
    """The folder that a stage writes: data/STAGE/KEY."""
    return DATA / stage / key


@contextmanager
def publish(stage: str, key: str = "") -> Iterator[Path]:
    """An empty working folder that becomes the stage's result when the block ends well.

    A kill, or an error, leaves the older result as it was, and the half-finished folder below work/ to look into.
    """
    with replacing(result(stage, key), WORK / stage / key) as folder:
        yield folder


@contextmanager
def replacing(finished: Path, working: Path) -> Iterator[Path]:
    """An empty folder `working` that takes the place of `finished` when the block ends well."""
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    yield working
    finished.parent.mkdir(parents=True, exist_ok=True)
    if finished.exists():
        shutil.rmtree(finished)
    working.rename(finished)
