"""Files of DVC that a kill can cut while DVC writes them, after which every `dvc` fails.

These are dvc.lock, which records the stages that have run, and .dvc/tmp/rwlock, which names the running processes.
"""

import json
import time
from importlib.util import find_spec
from pathlib import Path

from lima import storage
from lima.errors import LimaError

LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")
ASIDE = storage.WORK / "invalid"  # folder of the files that repair() removes
PAUSE = 0.5  # seconds after which a file that a running `dvc` may be writing is read again


class InvalidDvcFile(LimaError):
    """DVC cannot read one of its files. The message names it and the fix."""


def check() -> None:
    """Check the files of DVC in this checkout; missing ones are valid.

    Raises:
        InvalidDvcFile: DVC cannot read a file.
    """
    if found := invalid():
        raise InvalidDvcFile(
            f"invalid, probably cut when a process was killed: {', '.join(map(str, found))}; delete it; finished "
            "stages are restored from DVC's cache, not repeated"
        )


def repair() -> list[Path]:
    """Move invalid files to ASIDE, so that DVC restores finished stages from its cache; return their former paths."""
    found = invalid()
    for path in found:
        ASIDE.mkdir(parents=True, exist_ok=True)
        path.replace(ASIDE / path.name)
    return found


def invalid() -> list[Path]:
    """Return the files that DVC cannot read, also after a pause."""
    found = _invalid()
    if found:
        time.sleep(PAUSE)
        found = _invalid()
    return found


def _invalid() -> list[Path]:
    return [path for path, valid in ((LOCK, _valid_lock), (RWLOCK, _valid_json)) if path.exists() and not valid(path)]


def _valid_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _valid_lock(path: Path) -> bool:
    """Whether dvc.lock fits DVC's own schema; True without DVC."""
    if find_spec("dvc") is None:
        return True
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # imports DVC: half a second
    from dvc.utils import strictyaml

    try:
        strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
    except (strictyaml.YAMLFileCorruptedError, strictyaml.YAMLValidationError):
        return False
    return True
