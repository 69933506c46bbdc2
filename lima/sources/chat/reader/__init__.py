"""Chat data sets in any published layout, one dialogue per row (LIMA §4 trains on Alpaca in this way)."""

import re
from collections.abc import Iterator
from pathlib import Path

from lima.records import Candidate, Dropped
from lima.sources import chat_layouts as layouts
from lima.sources import chat_rows
from lima.sources.base import Prefilter, ReadStats, below
from lima.sources.chat_rows import Position, SourceInfo, pieces

__all__ = ["IDS_HAVE_PATHS", "SMALL_SHARDS", "pieces", "read"]

IDS_HAVE_PATHS = True
SMALL_SHARDS = True
SITE = re.compile(r"[\w.+ -]{1,60}")  # values of a row's `source` that can be a site
SHARD = re.compile(r"-\d+-of-\d+")
UNNAMED_SPLITS = frozenset(("data", "dataset"))  # files that are named by their folder


def read(
    dumps: Path,
    *,
    source: str,
    license: str,
    tally: ReadStats,
    early: Prefilter | None = None,
    root: Path | None = None,
) -> Iterator[Candidate | Dropped]:
    info = SourceInfo(source, license, root or dumps, layouts.LAYOUTS)
    yield from chat_rows.read_files(dumps, info, _by_split, tally)


def split(path: Path) -> str:
    """Return "train" for train.jsonl, data/train-00000-of-00002.parquet and train/data-00000-of-00001.arrow."""
    name = SHARD.sub("", below(path, path))
    return path.absolute().parent.name if name in UNNAMED_SPLITS else name


def _by_split(path: Path, row: layouts.Row, index: int) -> Position:
    """The site is the row's `source` if it has one, else the split of its file."""
    site = row.get("source")
    return Position(site if isinstance(site, str) and SITE.fullmatch(site) else split(path), index)
