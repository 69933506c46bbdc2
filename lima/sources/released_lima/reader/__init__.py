"""The released data of LIMA: 1,030 examples and 300 prompts (LIMA §2).

The sources of LIMA are the sites. Published rows name their source. LLaMA-Factory's conversion does not; it is
recognised by its number of rows, and a row's number then gives the source.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lima.records import Candidate, Dropped
from lima.sources import chat_layouts as layouts
from lima.sources import chat_rows, containers
from lima.sources.base import Prefilter, ReadStats
from lima.sources.chat_rows import Position, SourceInfo, pieces

__all__ = ["IDS_HAVE_PATHS", "SMALL_SHARDS", "pieces", "read"]

IDS_HAVE_PATHS = True
SMALL_SHARDS = True
UNKNOWN = "unknown"  # the site of an example whose file does not name its source

# The order of LIMA's training file: the first row of each source.
STARTS = (0, 400, 600, 800, 850, 1000)
SITES = ("stackexchange", "authors", "wikihow", "natural_instructions", "pushshift_r_writing_prompts", "multi_turn")
EXAMPLES = 1030
MISSING = 1021  # the example that the converted file of 1,029 rows lacks


def read(
    dumps: Path,
    *,
    source: str,
    license: str,
    tally: ReadStats,
    early: Prefilter | None = None,
    root: Path | None = None,
) -> Iterator[Candidate | Dropped]:
    info = SourceInfo(source, license, root or dumps, (layouts.LIMA, layouts.ALPACA))
    size = cache(_size)

    def position(path: Path, row: layouts.Row, index: int) -> Position:
        if "instruction" not in row:
            return Position(row.get("source") or UNKNOWN, index)
        rows = size(path)
        if rows not in (EXAMPLES - 1, EXAMPLES):
            return Position(UNKNOWN, index)
        original = index + (rows < EXAMPLES and index >= MISSING)
        return Position(SITES[bisect_right(STARTS, original) - 1], original)

    yield from chat_rows.read_files(dumps, info, position, tally)


def _size(path: Path) -> int:
    return sum(1 for _ in containers.rows(path))
