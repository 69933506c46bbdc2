"""The rows of a table as columns, found on bytes alone: no row is decoded, none is even looked at by itself.

A quotation mark cannot stand inside an attribute's value, so the marks of a block tell where each name and each value
lies. Whatever is not certain is not judged here but left to the exact parser, row by row: an unknown name, an odd
number of marks, a control character, a number of more than sixteen digits, what is no row at all.

Shapes: `rows` and `attributes` count those of a block; words are eight bytes at a time, little-endian.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lima.sources.names import Bytes, Ints, Mask, Names, Words

TAB, LF, CR, SPACE, QUOTE, MINUS, SLASH, EQUALS, GREATER = b'\t\n\r "-/=>'
ROW = int.from_bytes(b"<row", "little")
TURNED = np.uint8(QUOTE ^ SPACE)
CONTROL = np.isin(np.arange(256), [byte for byte in range(SPACE) if byte not in (TAB, LF, CR)])


@dataclass(frozen=True)
class Rows:
    """A block's lines, and the attributes of those that are surely rows."""

    block: Bytes
    names: Names
    start: Ints  # (lines,) of its first byte in the block
    end: Ints  # (lines,) past its last byte, without the line's end
    odd: Mask  # (lines,) for the exact parser
    present: Words  # (lines,) bits of the attributes' names
    line: Ints  # (attributes,) its index
    name: Ints  # (attributes,)
    opened: Ints  # (attributes,) the mark before the value
    closed: Ints  # (attributes,) the mark after it

    def has(self, name: str) -> Mask:
        found: Mask = (self.present & np.uint64(self.names.bits[name])) != 0
        return found

    def where(self, name: str) -> tuple[Ints, Ints, Ints]:
        """The lines that have the attribute, and past which byte its value begins and before which it ends."""
        at = np.flatnonzero(self.name == self.names.names.index(name))
        return self.line[at], self.opened[at] + 1, self.closed[at]

    def numbers(self, *names: str) -> Ints:
        """(names, lines) attributes as numbers, 0 where there is none; where one is no plain number the line is odd."""
        row = np.full(len(self.names.names), -1)
        row[[self.names.names.index(name) for name in names]] = np.arange(len(names))
        at = np.flatnonzero(row[self.name] >= 0)
        line, start, end = self.line[at], self.opened[at] + 1, self.closed[at]
        negative = self.block[start] == MINUS
        digits = end - start - negative
        low, fine = _eight(self.words, end, np.minimum(digits, 8))
        fine &= (digits > 0) & (digits <= 16)
        if len(long := np.flatnonzero(digits > 8)):
            high, also = _eight(self.words, end[long] - 8, np.minimum(digits[long] - 8, 8))
            low[long] += high * 100_000_000
            fine[long] &= also
        self.odd[line[~fine]] = True
        values = np.zeros((len(names), len(self.start)), np.int64)
        values[row[self.name[at]], line] = np.where(negative, -low, low)
        return values

    @cached_property
    def words(self) -> Words:
        return _words(self.block)


def _words(block: Bytes) -> Words:
    """The eight bytes from each byte on, without a copy."""
    return np.ndarray((max(len(block) - 7, 0),), "<u8", block, strides=(1,))


def _eight(words: Words, end: Ints, digits: Ints) -> tuple[Ints, Mask]:
    """The number that up to eight digits before `end` are, and whether they are digits: all eight at a time."""
    blank = ((8 - digits) * 8).astype(np.uint64)
    whole = blank == 64  # no digit: a shift by the whole word is not defined
    blank[whole] = 0
    zeros = np.uint64(0x3030303030303030)
    d = ((words[np.maximum(end - 8, 0)] >> blank) << blank) - ((zeros >> blank) << blank)
    fine = ((d + np.uint64(0x7676767676767676)) | d) & np.uint64(0x8080808080808080) == 0
    d = d * np.uint64(10) + (d >> np.uint64(8))  # pairs of digits, then fours, then all eight
    pairs = np.uint64(0x000000FF000000FF)
    d = (d & pairs) * np.uint64(0x000F424000000064) + ((d >> np.uint64(16)) & pairs) * np.uint64(0x0000271000000001)
    number = (d >> np.uint64(32)).astype(np.int64)
    number[whole] = 0
    return number, fine | whole


def scan(block: Bytes, names: Names) -> Rows:
    """A block is whole lines, the last one's end included."""
    # one pass for quotation marks and all below a space: with one bit turned they are the bytes up to a space
    found = np.flatnonzero(block ^ TURNED <= SPACE)
    kinds = block[found]
    stops = found[kinds == LF]
    start = np.concatenate((np.zeros(1, np.int64), stops[:-1] + 1))
    end = stops - (block[stops - 1] == CR)
    odd = np.zeros(len(start), np.bool_)
    odd[np.searchsorted(stops, found[CONTROL[kinds]])] = True

    marks = found[kinds == QUOTE]
    count = np.diff(np.append(np.searchsorted(marks, start), len(marks)))
    odd |= (count == 0) | (count & 1 == 1)
    marks = marks[~np.repeat(odd, count)] if odd.any() else marks
    sure = np.flatnonzero(~odd)
    present = np.zeros(len(start), np.uint64)
    rows = Rows(
        block, names, start, end, odd, present, np.repeat(sure, count[sure] >> 1), marks[:0], marks[::2], marks[1::2]
    )
    return _named(rows, sure, count[sure] >> 1) if len(sure) else rows


def _named(rows: Rows, sure: Ints, count: Ints) -> Rows:
    """With the attributes' names; what is not ` NAME="` after another, or no `<row` or `/>`, makes its line odd."""
    block, opened, closed = rows.block, rows.opened, rows.closed
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(count)[:-1]))  # of each row's attributes
    tag = rows.start[sure]
    for _ in range(2):  # rows stand two spaces in, or none
        tag = tag + (block[tag] == SPACE)
    before = np.concatenate((closed[:1], closed[:-1]))
    before[first] = tag + 3  # the last byte of `<row`
    name, fine = rows.names.find(rows.words, block[before + 2], opened - 1, opened - before - 3)
    fine &= (block[before + 1] == SPACE) & (block[opened - 1] == EQUALS)
    bits = np.left_shift(np.uint64(1), name.astype(np.uint64))
    present = np.bitwise_or.reduceat(bits, first)
    end, last = rows.end[sure], closed[first + count - 1]
    close = end - last  # `"/>` or `" />`
    ends = (
        (block[end - 1] == GREATER)
        & (block[end - 2] == SLASH)
        & ((close == 3) | ((close == 4) & (block[last + 1] == SPACE)))
    )
    begins = rows.words[np.minimum(tag, max(len(block) - 8, 0))] & np.uint64(0xFFFFFFFF) == ROW
    twice = np.add.reduceat(bits, first) != present
    rows.odd[sure] |= ~(np.logical_and.reduceat(fine, first) & ends & begins) | twice
    rows.present[sure] = present
    return Rows(block, rows.names, rows.start, rows.end, rows.odd, rows.present, rows.line, name, opened, closed)
