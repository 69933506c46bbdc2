"""Storage of post texts until selection: a reference into the file, or a temporary copy if the source is a stream."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Self

import numpy as np

from lima.sources.base import Prefilter
from lima.sources.blocks import Fill, LineBlock, blocks
from lima.sources.spill import Records
from lima.sources.stack_exchange.reader import xml_layout
from lima.sources.stack_exchange.reader.columns import Ints
from lima.sources.stack_exchange.reader.join import KSmallest
from lima.sources.stack_exchange.reader.outcomes import OutcomeRow
from lima.sources.stack_exchange.reader.row_parser import ANSWER, QUESTION
from lima.sources.stack_exchange.reader.table import ABSENT

# answers stored per place in the reservoir: some questions turn out later to be closed or missing
OVERSAMPLING = 2


class Texts:
    """Context manager. Copies nothing from a file; from a stream all questions, and answers that can be selected."""

    def __init__(self, file: Path | None, folder: Path, *, early: Prefilter | None, prefix: str) -> None:
        self._kept = file is None
        self._file: BinaryIO = file.open("rb") if file else TemporaryFile(dir=folder)  # noqa: SIM115
        self._early = early
        self._prefix = prefix
        self._smallest = KSmallest(OVERSAMPLING * early.reservoir if early else 0)
        self._size = 0
        self._later: dict[int, int] = {}  # line → offset of rows stored by `fetch`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()

    def keep(self, block: LineBlock, posts: Records) -> None:
        """Store rows and set `at` of the posts to their new offsets, or to ABSENT."""
        if self._kept:
            wanted = self._wanted(posts)
            starts = posts["at"][wanted] - block.offset
            posts["at"] = ABSENT
            posts["at"][wanted] = self._write(block, starts, posts["size"][wanted])

    def get(self, row: OutcomeRow) -> bytes:
        """The bytes of a post's row."""
        at = self._later.get(row.line, row.at)
        assert at != ABSENT, f"line {row.line} was neither kept nor fetched"
        return xml_layout.bare(os.pread(self._file.fileno(), row.size, at))

    def flush(self) -> None:
        if self._kept:
            self._file.flush()

    def fetch(self, fill: Fill, lines: Sequence[int]) -> None:
        """Read the stream again and store the rows of `lines`, which must be sorted."""
        wanted = np.array(lines, np.int64)
        for block in blocks(fill):
            if isinstance(block, LineBlock):
                ends = np.flatnonzero(block.bytes == ord("\n"))
                first, last = np.searchsorted(wanted, (block.line, block.line + len(ends)))
                here = wanted[first:last] - block.line
                starts = np.where(here > 0, ends[here - 1] + 1, 0)
                places = self._write(block, starts, ends[here] - starts)
                self._later.update(zip(wanted[first:last].tolist(), places.tolist(), strict=True))
        self.flush()

    def _wanted(self, posts: Records) -> Ints:
        """Indexes of questions, and of answers with enough votes or to a question that may be in the reservoir."""
        valid, answer = posts["fault"] == 0, posts["kind"] == ANSWER
        likely = answer & valid
        if self._early:
            low = np.flatnonzero(likely & (posts["score"] < self._early.min_response_score))
            shares = self._early.shares(self._prefix, posts["parent"][low].tolist())
            self._smallest.offer(shares[~posts["blank"][low]])
            likely[low] = shares <= self._smallest.bound
        return np.flatnonzero(likely | (valid & (posts["kind"] == QUESTION)))

    def _write(self, block: LineBlock, starts: Ints, sizes: Ints) -> Ints:
        """Append rows to the temporary file; returns their offsets, (rows,)."""
        view, ends = block.bytes.data, starts + sizes
        self._file.write(b"".join([view[at:end] for at, end in zip(starts.tolist(), ends.tolist(), strict=True)]))
        places: Ints = self._size + np.cumsum(sizes, dtype=np.int64) - sizes
        self._size += int(sizes.sum())
        return places
