"""The lines of a Posts.xml, Users.xml or Comments.xml that hold its rows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from lima.sources.blocks import MOST
from lima.sources.stack_exchange import xml_layout

BOM = b"\xef\xbb\xbf"
LONGEST_AROUND = 100  # bytes of mark, indentation and line's end
FRAME = re.compile(rb"<\?|<!|</?(?:posts|users|comments)\b")  # what stands around the rows


class Line(NamedTuple):
    number: int
    raw: bytes


def lines(path: Path) -> Iterator[Line]:
    """The rows' lines; empty ones and what stands around the rows are left out.

    Of a line that is longer than a row may be, as much stands there as makes it too long.
    """
    with (
        path.open("rb", buffering=0) as raw_file,
        xml_layout.stream(xml_layout.one_row_a_line(raw_file.readinto, shown=str(path))) as file,
        tqdm(total=path.stat().st_size, unit="B", unit_scale=True, disable=None) as bar,
    ):
        bar.set_description(path.name)
        number = 0
        while line := file.readline(MOST + LONGEST_AROUND):
            number += 1
            if raw := stripped(line):
                yield Line(number, raw)
            bar.update(len(line))
            while not line.endswith(b"\n") and (line := file.readline(MOST)):
                bar.update(len(line))


def stripped(line: bytes) -> bytes:
    """A line without mark, indentation and end; b"" where it stands around the rows."""
    raw = bare(line)
    return b"" if FRAME.match(raw) else raw


def bare(line: bytes) -> bytes:
    return line.removeprefix(BOM).strip()
