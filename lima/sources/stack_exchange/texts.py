"""The rows of chosen posts: in the file they stand in, or kept aside while a stream goes by that is not read again."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Self

import numpy as np

from lima.sources.base import Prefilter
from lima.sources.blocks import Fill, LineBlock, blocks
from lima.sources.spill import Records
from lima.sources.stack_exchange import xml_layout
from lima.sources.stack_exchange.columns import Ints
from lima.sources.stack_exchange.join import KSmallest
from lima.sources.stack_exchange.outcomes import OutcomeRow
from lima.sources.stack_exchange.row_parser import ANSWER, QUESTION
from lima.sources.stack_exchange.table import ABSENT

SPARE = 2  # times the places whatever votes: some seem taken by questions that turn out to be closed, or in no dump


class Texts:
    """A context. Of a file nothing is kept; of a stream all questions, and the answers that may be chosen."""

    def __init__(self, file: Path | None, folder: Path, *, early: Prefilter | None, prefix: str) -> None:
        self._kept = file is None
        self._file: BinaryIO = file.open("rb") if file else TemporaryFile(dir=folder)  # noqa: SIM115
        self._early = early
        self._prefix = prefix
        self._smallest = KSmallest(SPARE * early.reservoir if early else 0)
        self._size = 0
        self._later: dict[int, int] = {}  # where the rows are that were missed at first, a line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()

    def keep(self, block: LineBlock, found: Records) -> None:
        """Set `at` of the posts to where their rows are from now on."""
        if self._kept:
            wanted = self._wanted(found)
            starts = found["at"][wanted] - block.offset
            found["at"] = ABSENT
            found["at"][wanted] = self._write(block, starts, found["size"][wanted])

    def get(self, row: OutcomeRow) -> bytes:
        at = self._later.get(row.line, row.at)
        assert at != ABSENT, f"line {row.line} was neither kept nor fetched"
        return xml_layout.bare(os.pread(self._file.fileno(), row.size, at))

    def flush(self) -> None:
        if self._kept:
            self._file.flush()

    def fetch(self, fill: Fill, lines: Sequence[int]) -> None:
        """Read the stream again for rows that were not kept; `lines` are sorted."""
        sought = np.array(lines, np.int64)
        for block in blocks(fill):
            if isinstance(block, LineBlock):
                ends = np.flatnonzero(block.bytes == ord("\n"))
                first, last = np.searchsorted(sought, (block.line, block.line + len(ends)))
                here = sought[first:last] - block.line
                starts = np.where(here > 0, ends[here - 1] + 1, 0)
                places = self._write(block, starts, ends[here] - starts)
                self._later.update(zip(sought[first:last].tolist(), places.tolist(), strict=True))
        self.flush()

    def _wanted(self, found: Records) -> Ints:
        """Questions; answers with votes enough, or to a question that may be among those that stay whatever votes."""
        whole, answer = found["fault"] == 0, found["kind"] == ANSWER
        likely = answer & whole
        if self._early:
            low = np.flatnonzero(likely & (found["score"] < self._early.min_response_score))
            shares = self._early.shares(self._prefix, found["parent"][low].tolist())
            self._smallest.offer(shares[~found["blank"][low]])
            likely[low] = shares <= self._smallest.bound
        return np.flatnonzero(likely | (whole & (found["kind"] == QUESTION)))

    def _write(self, block: LineBlock, starts: Ints, sizes: Ints) -> Ints:
        """Where each row is from now on."""
        view, ends = block.bytes.data, starts + sizes
        self._file.write(b"".join([view[at:end] for at, end in zip(starts.tolist(), ends.tolist(), strict=True)]))
        places: Ints = self._size + np.cumsum(sizes, dtype=np.int64) - sizes
        self._size += int(sizes.sum())
        return places
