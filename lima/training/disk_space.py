"""Whether the disk can hold what a run writes, asked before it starts and not in its third hour."""

import shutil
from math import prod
from pathlib import Path

from safetensors import safe_open

from lima.config.sections import Train
from lima.errors import LimaError
from lima.training import resources
from lima.training.training_state import aside


class InsufficientDiskSpace(LimaError):
    """Less free disk than the run will need."""


def check(base: Path, working: Path, result: Path, recipe: Train) -> None:
    """Raise unless the disk below `working` can take the checkpoints and states of the model in `base`.

    So can the disk of `result`, to which the checkpoints are copied if it is another one.
    """
    working.mkdir(parents=True, exist_ok=True)
    result.parent.mkdir(parents=True, exist_ok=True)
    needed = resources.disk(parameters(base), recipe)
    used = required_bytes(working / "states") + required_bytes(working / "result")
    free = shutil.disk_usage(working).free + used
    if needed > free:
        first, last = recipe.keep_epochs
        raise InsufficientDiskSpace(
            f"checkpoints of epochs {first} to {last} and two states to continue from need {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free below {working.resolve()}; make room, keep fewer epochs "
            "(train.keep_epochs), or put work/ on a larger disk and leave a link to it (ln -s)"
            f"{_or_remove(aside(working))}"
        )
    if result.parent.stat().st_dev != working.stat().st_dev:
        needed, free = resources.checkpoints(parameters(base), recipe), shutil.disk_usage(result.parent).free
        if needed > free:
            raise InsufficientDiskSpace(
                f"checkpoints of epochs {recipe.keep_epochs[0]} to {recipe.keep_epochs[1]} need {needed / 1e9:.1f} GB, "
                f"and {free / 1e9:.1f} GB are free below {result.parent.resolve()}; make room, or keep fewer epochs "
                "(train.keep_epochs)"
            )


def _or_remove(folder: Path) -> str:
    return (
        f", or remove {folder}, with {required_bytes(folder) / 1e9:.1f} GB of states moved aside"
        if folder.exists()
        else ""
    )


def parameters(base: Path) -> int:
    """Counted from the headers of its safetensors; no weight is read."""
    count = 0
    for path in base.glob("*.safetensors"):
        with safe_open(path, "np") as weights:
            count += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return count


def required_bytes(folder: Path) -> int:
    """Bytes of the files that an earlier run left there: they are part of what this one needs."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
