"""Names of readers: the built-in ones, and those of other packages through the entry-point group `lima.sources`.

Listing names imports no reader, so params.yaml is validated without the libraries that a reader needs.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from lima.errors import LimaError

GROUP = "lima.sources"
# in lima/sources/, a folder each
BUILT_IN = (
    "stack_exchange",
    "wikihow",
    "reddit",
    "natural_instructions",
    "authored",
    "adversarial",
    "released_lima",
    "alpaca",
    "chat",
)


class ReaderError(LimaError):
    """A reader of another package that cannot be used."""


@cache
def plugins() -> Mapping[str, EntryPoint]:
    """The readers of other packages, by name; built-in names are reserved."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}


def names() -> list[str]:
    return [*BUILT_IN, *sorted(plugins())]


def unknown(name: str) -> str:
    """The error text for a name that is not a reader."""
    close = get_close_matches(name, names(), n=1)
    hint = f"did you mean {close[0]}?" if close else f"install the package that provides it (entry points {GROUP!r})"
    return f"unknown reader: {name!r}; the readers are {', '.join(names())}; {hint}"


def plugin(name: str) -> object:
    """Import the reader of another package.

    Raises:
        ReaderError: The import fails.
    """
    point = plugins()[name]
    try:
        module: object = point.load()
    except (ImportError, AttributeError) as error:
        raise ReaderError(
            f"the reader {name!r} ({GROUP}: {point.value}) cannot be imported: {error}; reinstall its package"
        ) from error
    return module
