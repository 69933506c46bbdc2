"""Reader modules by name: `lima.sources.NAME.reader`, or an entry point of the group `lima.sources`."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

from lima import reader_names
from lima.records import Candidate, Dropped
from lima.sources.base import DumpError, ReadFunction, Shards, Source

CODE = (".py", ".pyx", ".so", ".pyd")  # endings of files of code


def source(name: str) -> Source:
    """Import the reader module of that name.

    Raises:
        DumpError: The name is unknown, or the module lacks a part of `Source`.
    """
    if name in reader_names.BUILT_IN:
        return cast(Source, import_module(f"lima.sources.{name}.reader"))
    if name not in reader_names.plugins():
        raise DumpError(reader_names.unknown(name))
    module = reader_names.plugin(name)
    if missing := [part for part in ("read", "pieces") if not callable(getattr(module, part, None))]:
        raise DumpError(f"the reader {name!r} has no {' and no '.join(missing)}; see docs/sources.md")
    return cast(Source, module)


def reader(name: str, *, root: Path | None = None) -> ReadFunction:
    """Return the `read` function of a reader.

    Args:
        name: The reader's name in params.yaml.
        root: The folder of the whole dump, if only a shard of it is read. Some ids contain a file's path below it.
    """
    module = source(name)
    if root and getattr(module, "IDS_HAVE_PATHS", False):
        read = cast(Callable[..., Iterator[Candidate | Dropped]], module.read)
        return partial(read, root=root)
    return module.read


def pieces(name: str) -> Shards:
    """Return the function that divides a dump of this reader into shards."""
    return source(name).pieces


def plugin_files(name: str) -> list[Path]:
    """Return the code of a reader of another package: all files of its top-level package; [] for a built-in one."""
    if name in reader_names.BUILT_IN:
        return []
    source(name)
    top = sys.modules[reader_names.plugins()[name].module.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in CODE) or [
        Path(str(top.__file__))
    ]


def small_shards(name: str) -> bool:
    """Whether a dump of this reader has many small shards, and the same candidate may occur in several of them."""
    return bool(getattr(source(name), "SMALL_SHARDS", False))
