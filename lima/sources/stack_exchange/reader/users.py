"""Users.xml: display names of the authors of selected posts."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

import numpy as np
from rowscan import Names

from lima.records import Dropped
from lima.sources.blocks import Fill, LineBlock, OverlongBlock, blocks
from lima.sources.stack_exchange.reader import row_parser, xml_layout
from lima.sources.stack_exchange.reader.columns import Ints, Mask, scan
from lima.sources.stack_exchange.reader.row_parser import UnreadableRow
from lima.sources.stack_exchange.reader.table import bad_line

USERS = Names(
    *("Id", "Reputation", "CreationDate", "DisplayName", "LastAccessDate", "WebsiteUrl", "Location", "AboutMe"),
    *("Views", "UpVotes", "DownVotes", "ProfileImageUrl", "EmailHash", "Age", "AccountId"),
    numbers=("Id",),
)


class Authors:
    """Context manager: names in a temporary file, indexed by the sorted user ids `wanted`."""

    def __init__(self, folder: Path, wanted: Ints) -> None:
        self._wanted = wanted
        self._at = np.zeros(len(wanted), np.int64)
        self._size = np.zeros(len(wanted), np.int32)  # bytes, 0 without a name
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()

    def read(self, fill: Fill, *, shown: str) -> Iterator[Dropped]:
        """Read Users.xml; yields unreadable rows. Rows of other users are checked for their layout only."""
        for block in blocks(fill):
            if isinstance(block, OverlongBlock):
                yield _bad(shown, block.line, f"a row of {block.size} bytes", block.head)
            else:
                yield from self._read_block(block, shown)

    def names(self, owners: Ints) -> dict[int, str]:
        """Display names of the given users by id; users without a name are missing."""
        if not self._size.any():
            return {}
        names = {}
        for index in np.unique(np.searchsorted(self._wanted, owners[np.isin(owners, self._wanted)])).tolist():
            if size := int(self._size[index]):
                self._file.seek(int(self._at[index]))
                names[int(self._wanted[index])] = self._file.read(size).decode()
        return names

    def _read_block(self, block: LineBlock, shown: str) -> Iterator[Dropped]:
        rows = scan(block.bytes, block.lines, USERS)
        [ids] = rows.numbers
        relevant = rows.odd | ~rows.has("Id") | ~rows.has("DisplayName") | self._wants(ids)
        for index in np.flatnonzero(relevant).tolist():
            raw = xml_layout.stripped(block.bytes[rows.start[index] : rows.end[index]].tobytes())
            try:
                if raw:
                    self._store(*row_parser.user(raw))
            except UnreadableRow as error:
                yield _bad(shown, block.line + index, str(error), raw)

    def _wants(self, ids: Ints) -> Mask:
        return np.isin(ids, self._wanted)

    def _store(self, number: int, name: str) -> None:
        index = int(np.searchsorted(self._wanted, number))
        if index < len(self._wanted) and self._wanted[index] == number:
            text = name.encode()
            self._at[index], self._size[index] = self._file.seek(0, 2), len(text)
            self._file.write(text)


def _bad(shown: str, line: int, detail: str, raw: bytes) -> Dropped:
    return bad_line(shown, line, detail, raw).model_copy(update={"reason": "bad_user"})
