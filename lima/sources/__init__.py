"""Readers of dumps and their filter rules. `__all__` is the public API."""

from typing import TYPE_CHECKING

from lima.lazy_names import lazy_names

if TYPE_CHECKING:
    from lima.sources.base import DumpError, Prefilter, ReadStats, Shard, Source, bad_row, digest, files
    from lima.sources.detection import detect
    from lima.sources.registry import pieces, reader
    from lima.sources.rules import apply, unfiltered

__all__ = [
    "DumpError",
    "Prefilter",
    "ReadStats",
    "Shard",
    "Source",
    "apply",
    "bad_row",
    "detect",
    "digest",
    "files",
    "pieces",
    "reader",
    "unfiltered",
]
_NAMES = {
    "base": (
        "DumpError",
        "Prefilter",
        "ReadStats",
        "Shard",
        "Source",
        "bad_row",
        "digest",
        "files",
    ),
    "detection": ("detect",),
    "registry": (
        "pieces",
        "reader",
    ),
    "rules": (
        "apply",
        "unfiltered",
    ),
}
__getattr__ = lazy_names(__name__, _NAMES, extra="pipeline")
