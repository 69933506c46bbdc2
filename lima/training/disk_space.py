"""Check free disk space before training starts."""

import shutil
from math import prod
from pathlib import Path

from safetensors import safe_open

from lima.config.sections import Train
from lima.errors import LimaError
from lima.training import cost_formulas
from lima.training.training_state import incompatible_states


class InsufficientDiskSpace(LimaError):
    """Raised when the free disk space is below the need of a run."""


def check(base: Path, working: Path, result: Path, recipe: Train) -> None:
    """Check that the disk of `working` can hold the checkpoints and states of the model in `base`.

    If `result` is on another disk, check that it can hold the checkpoints, which are copied there.

    Raises:
        InsufficientDiskSpace: With the need and the free space.
    """
    working.mkdir(parents=True, exist_ok=True)
    result.parent.mkdir(parents=True, exist_ok=True)
    needed = cost_formulas.disk(parameters(base), recipe)
    used = used_bytes(working / "states") + used_bytes(working / "result")
    free = shutil.disk_usage(working).free + used
    if needed > free:
        first, last = recipe.keep_epochs
        raise InsufficientDiskSpace(
            f"not enough disk space in {working.resolve()}: {size(free)} free, {size(needed)} needed for "
            f"the checkpoints of epochs {first} to {last} and two training states; free disk space, keep fewer epochs "
            "(train.keep_epochs), or move work/ to a larger disk and link to it (ln -s)"
            f"{_or_remove(incompatible_states(working))}"
        )
    if result.parent.stat().st_dev != working.stat().st_dev:
        needed, free = cost_formulas.checkpoints(parameters(base), recipe), shutil.disk_usage(result.parent).free
        if needed > free:
            raise InsufficientDiskSpace(
                f"not enough disk space in {result.parent.resolve()}: {size(free)} free, {size(needed)} "
                f"needed for the checkpoints of epochs {recipe.keep_epochs[0]} to {recipe.keep_epochs[1]}; free disk "
                "space or keep fewer epochs (train.keep_epochs)"
            )


def _or_remove(folder: Path) -> str:
    return (
        f", or remove {folder} ({size(used_bytes(folder))} of incompatible training states)" if folder.exists() else ""
    )


def parameters(base: Path) -> int:
    """Number of parameters, from the headers of the safetensors files."""
    count = 0
    for path in base.glob("*.safetensors"):
        with safe_open(path, "np") as weights:
            count += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return count


def used_bytes(folder: Path) -> int:
    """Size of the files in `folder`; those of an interrupted run are part of the need of the next."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def size(count: float) -> str:
    """Bytes as a text in MB below 1 GB, so that small models show a need."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"
