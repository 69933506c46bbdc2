"""Users.xml: the names of those who wrote what is chosen, and of nobody else."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

import numpy as np
from rowscan import Names

from lima.records import Dropped
from lima.sources.blocks import Fill, LineBlock, OverlongBlock, blocks
from lima.sources.stack_exchange import row_parser, xml_layout
from lima.sources.stack_exchange.columns import Ints, Mask, scan
from lima.sources.stack_exchange.row_parser import UnreadableRow
from lima.sources.stack_exchange.table import bad_line

USERS = Names(
    *("Id", "Reputation", "CreationDate", "DisplayName", "LastAccessDate", "WebsiteUrl", "Location", "AboutMe"),
    *("Views", "UpVotes", "DownVotes", "ProfileImageUrl", "EmailHash", "Age", "AccountId"),
    numbers=("Id",),
)


class Authors:
    """A context: names on disk, found by the sorted ids of their owners."""

    def __init__(self, folder: Path, wanted: Ints) -> None:
        self._wanted = wanted
        self._at = np.zeros(len(wanted), np.int64)
        self._size = np.zeros(len(wanted), np.int32)  # bytes, 0 where there is no name
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()

    def learn(self, fill: Fill, *, shown: str) -> Iterator[Dropped]:
        """Yields the rows that cannot be read; of those of nobody who is wanted only the frame is looked at."""
        for block in blocks(fill):
            if isinstance(block, OverlongBlock):
                yield _bad(shown, block.line, f"a row of {block.size} bytes", block.head)
            else:
                yield from self._learn(block, shown)

    def names(self, owners: Ints) -> dict[int, str]:
        if not self._size.any():
            return {}
        found = {}
        for index in np.unique(np.searchsorted(self._wanted, owners[np.isin(owners, self._wanted)])).tolist():
            if size := int(self._size[index]):
                self._file.seek(int(self._at[index]))
                found[int(self._wanted[index])] = self._file.read(size).decode()
        return found

    def _learn(self, block: LineBlock, shown: str) -> Iterator[Dropped]:
        rows = scan(block.bytes, block.lines, USERS)
        [ids] = rows.numbers
        sought = rows.odd | ~rows.has("Id") | ~rows.has("DisplayName") | self._wants(ids)
        for index in np.flatnonzero(sought).tolist():
            raw = xml_layout.stripped(block.bytes[rows.start[index] : rows.end[index]].tobytes())
            try:
                if raw:
                    self._note(*row_parser.user(raw))
            except UnreadableRow as error:
                yield _bad(shown, block.line + index, str(error), raw)

    def _wants(self, ids: Ints) -> Mask:
        return np.isin(ids, self._wanted)

    def _note(self, number: int, name: str) -> None:
        index = int(np.searchsorted(self._wanted, number))
        if index < len(self._wanted) and self._wanted[index] == number:
            text = name.encode()
            self._at[index], self._size[index] = self._file.seek(0, 2), len(text)
            self._file.write(text)


def _bad(shown: str, line: int, detail: str, raw: bytes) -> Dropped:
    return bad_line(shown, line, detail, raw).model_copy(update={"reason": "bad_user"})
