"""Sets that were released by others: LIMA's own 1,030 examples and 300 prompts, and Alpaca's (LIMA §2, §4).

They are read as any other chat data set; only the sites are their own. LIMA's rows name their source; LLaMA-Factory's
conversion of it, which has none, is told by its size, and there the row's number gives the source. Alpaca is one site.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lima.records import Candidate, Dropped
from lima.sources import containers
from lima.sources.base import Prefilter, ReadStats
from lima.sources.chat import layouts, reader
from lima.sources.chat.reader import Known, Place, pieces

__all__ = ["pieces", "read_alpaca", "read_lima"]

UNKNOWN = "unknown"  # the site of an example whose file does not name its source

# The order of LIMA's training file: where each source begins.
STARTS = (0, 400, 600, 800, 850, 1000)
SITES = ("stackexchange", "authors", "wikihow", "natural_instructions", "pushshift_r_writing_prompts", "multi_turn")
EXAMPLES = 1030
MISSING = 1021  # the one example that the converted file of 1,029 lacks


def read_lima(
    dumps: Path,
    *,
    source: str,
    licence: str,
    tally: ReadStats,
    early: Prefilter | None = None,
    root: Path | None = None,
) -> Iterator[Candidate | Dropped]:
    known = Known(source, licence, root or dumps, (layouts.LIMA, layouts.ALPACA))
    size = cache(_size)

    def where(path: Path, row: Any, index: int) -> Place:
        if "instruction" not in row:
            return Place(row.get("source") or UNKNOWN, index)
        rows = size(path)
        if rows not in (EXAMPLES - 1, EXAMPLES):
            return Place(UNKNOWN, index)
        original = index + (rows < EXAMPLES and index >= MISSING)
        return Place(SITES[bisect_right(STARTS, original) - 1], original)

    yield from reader.read_files(dumps, known, where, tally)


def read_alpaca(
    dumps: Path,
    *,
    source: str,
    licence: str,
    tally: ReadStats,
    early: Prefilter | None = None,
    root: Path | None = None,
) -> Iterator[Candidate | Dropped]:
    known = Known(source, licence, root or dumps, (layouts.ALPACA,))
    yield from reader.read_files(dumps, known, lambda path, row, index: Place("alpaca", index), tally)


def _size(path: Path) -> int:
    return sum(1 for _ in containers.rows(path))
