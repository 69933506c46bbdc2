"""Alpaca: 52,000 instructions, the paper's baseline training set (LIMA §4). All rows are one site."""

from collections.abc import Iterator
from pathlib import Path

from lima.records import Candidate, Dropped
from lima.sources import chat_layouts as layouts
from lima.sources import chat_rows
from lima.sources.base import Prefilter, ReadStats
from lima.sources.chat_rows import Position, SourceInfo, pieces

__all__ = ["IDS_HAVE_PATHS", "SMALL_SHARDS", "pieces", "read"]

IDS_HAVE_PATHS = True
SMALL_SHARDS = True


def read(
    dumps: Path,
    *,
    source: str,
    license: str,
    tally: ReadStats,
    early: Prefilter | None = None,
    root: Path | None = None,
) -> Iterator[Candidate | Dropped]:
    info = SourceInfo(source, license, root or dumps, (layouts.ALPACA,))
    yield from chat_rows.read_files(dumps, info, lambda path, row, index: Position("alpaca", index), tally)
