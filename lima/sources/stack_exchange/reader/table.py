"""Posts.xml block by block: one numeric record per post; texts stay undecoded bytes.

The layout and the numbers of every row are checked here. Texts are checked when they are decoded.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rowscan import Names

from lima.records import Dropped
from lima.sources.base import bad_row
from lima.sources.blocks import HEAD, MOST, Fill, LineBlock, OverlongBlock, blocks
from lima.sources.spill import Records
from lima.sources.stack_exchange.reader import row_parser, xml_layout
from lima.sources.stack_exchange.reader.columns import Rows, scan
from lima.sources.stack_exchange.reader.row_parser import ANSWER, QUESTION, PostRow, UnreadableRow

NUMBERS = {  # field of POST → attribute
    "id": "Id",
    "kind": "PostTypeId",
    "score": "Score",
    "parent": "ParentId",
    "accepted": "AcceptedAnswerId",
    "owner": "OwnerUserId",
}
POSTS = Names(*row_parser.COLUMNS, numbers=tuple(NUMBERS.values()))
NONE = int(np.iinfo(np.int64).min)  # a missing id
ABSENT = -1
POST = np.dtype(
    [
        ("line", "i8"),
        ("at", "i8"),  # offset of the row's stored bytes, or ABSENT
        ("size", "i4"),  # bytes
        ("kind", "i4"),  # PostTypeId
        ("id", "i8"),
        ("parent", "i8"),
        ("accepted", "i8"),
        ("score", "i8"),
        ("owner", "i8"),
        ("fault", "u1"),  # index of FAULTS
        ("blank", "?"),  # the body is empty or whitespace
    ]
)
COMMUNITY, ANSWER_BOT = -1, -2  # system users
FABRICATED = (1000000001, 1000000010)  # ids of the artificial posts in dumps since 2024
# why a single post is dropped, by precedence
FAULTS = ("", "fabricated", "bot_answer", "bot_question", "deleted", "locked", "closed")
# Bytes that prove that a text is not blank: a visible character, or after "&" the first letter of a reference to one.
# The quotation mark behind an empty value is in neither set.
VISIBLE = np.isin(np.arange(256), [byte for byte in range(ord("!"), ord("~") + 1) if byte not in b'&"'])
VISIBLE_REFERENCE = np.isin(np.arange(256), list(b"lgaq"))
AMPERSAND = ord("&")
# for the id of an unreadable question
QUESTION_ROW = re.compile(rb"\sPostTypeId\s*=\s*[\"']1[\"']")
ID_ATTRIBUTE = re.compile(rb"\sId\s*=\s*[\"'](\d{1,18})[\"']")


class TableBlock(NamedTuple):
    """The posts and the unreadable rows of a block."""

    block: LineBlock | None
    posts: Records
    bad: list[Dropped]
    rows: int
    unreadable_questions: list[int]  # ids of questions among the bad rows


def pages(fill: Fill, *, shown: str) -> Iterator[TableBlock]:
    """Read a table block by block; `shown` is its name in `place` of dropped rows."""
    for block in blocks(fill):
        yield _overlong(block, shown) if isinstance(block, OverlongBlock) else page(block, shown=shown)


def page(block: LineBlock, *, shown: str) -> TableBlock:
    rows = scan(block.bytes, block.lines, POSTS)
    records = _records(rows, block)
    number, bad, invalid, questions = len(records), list[Dropped](), list[int](), list[int]()
    for index in np.flatnonzero(rows.odd).tolist():
        raw = xml_layout.stripped(block.bytes[rows.start[index] : rows.end[index]].tobytes())
        try:
            if raw:
                _fill_in(records, index, row_parser.post(raw))
                continue
            number -= 1
        except UnreadableRow as error:
            bad.append(bad_line(shown, block.line + index, str(error), raw))
            questions += _question_ids(raw)
        invalid.append(index)
    return TableBlock(block, np.delete(records, invalid) if invalid else records, bad, number, questions)


def _question_ids(raw: bytes) -> list[int]:
    """The id of an unreadable row if it certainly is a question; at most one."""
    number = ID_ATTRIBUTE.search(raw)
    return [int(number[1])] if number and QUESTION_ROW.search(raw) else []


def _records(rows: Rows, block: LineBlock) -> Records:
    """One record per line. Sets `rows.odd` for lines with a missing attribute; their records are not valid yet."""
    records = np.zeros(len(rows.start), POST)
    records["line"] = np.arange(block.line, block.line + len(records))
    records["at"], records["size"] = rows.start + block.offset, rows.end - rows.start
    numbers = dict(zip(NUMBERS, rows.numbers, strict=True))
    numbers["kind"].clip(-(10**9), 10**9, out=numbers["kind"])
    for field in ("parent", "accepted", "owner"):
        numbers[field][~rows.has(NUMBERS[field])] = NONE
    for field, values in numbers.items():
        records[field] = values
    question, answer = numbers["kind"] == QUESTION, numbers["kind"] == ANSWER
    complete = rows.has("Id") & rows.has("PostTypeId")
    complete &= ~(question | answer) | (rows.has("Score") & rows.has("Body"))
    rows.odd[~(complete & (~question | rows.has("Title")) & (~answer | rows.has("ParentId")))] = True
    rows.odd[records["size"] > MOST] = True
    fabricated = (numbers["id"] == FABRICATED[0]) | (numbers["id"] == FABRICATED[1])
    faults = (
        fabricated & (numbers["owner"] == COMMUNITY),
        answer & (numbers["owner"] == ANSWER_BOT),
        question & (numbers["owner"] == ANSWER_BOT),
        (question | answer) & rows.has("DeletionDate"),
        (question | answer) & rows.has("LockedDate"),
        question & rows.has("ClosedDate"),
    )
    for code, holds in reversed([*enumerate(faults, start=1)]):
        records["fault"][holds] = code
    _mark_blank(rows, records)
    return records


def _mark_blank(rows: Rows, records: Records) -> None:
    """Set `blank`. Only bodies whose first bytes do not decide are decoded."""
    line, start, end = rows.where("Body")
    first, second = rows.block[start], rows.block[start + 1]
    plain = VISIBLE[first] | ((first == AMPERSAND) & VISIBLE_REFERENCE[second])
    for n in np.flatnonzero(~plain).tolist():
        value = rows.block[start[n] : end[n]].tobytes()
        try:
            body = row_parser.row(b'<row Body="' + value + b'"/>')("Body")
            records["blank"][line[n]] = not (body or "").strip()
        except UnreadableRow:  # reported when the row is decoded
            continue


def _fill_in(records: Records, index: int, post: PostRow) -> None:
    """Set a record from a row that was read by the exact parser."""
    names = {QUESTION: "question", ANSWER: "answer"}
    faults = {
        "fabricated": post.id in FABRICATED and post.owner == COMMUNITY,
        f"bot_{names.get(post.kind, '')}": post.owner == ANSWER_BOT,
        "deleted": post.deleted,
        "locked": post.locked,
        "closed": post.kind == QUESTION and post.closed,
    }
    fault = next((name for name, holds in faults.items() if holds and name in FAULTS), "")
    if post.kind not in names and fault != "fabricated":
        fault = ""
    ids = {"parent": post.parent, "accepted": post.accepted, "owner": post.owner}
    values: dict[str, int] = {name: NONE if value is None else value for name, value in ids.items()}
    values |= {"id": post.id, "kind": min(max(post.kind, -(10**9)), 10**9), "score": post.score}
    values |= {"fault": FAULTS.index(fault), "blank": not post.body.strip()}
    for name, value in values.items():
        records[name][index] = value


def _overlong(line: OverlongBlock, shown: str) -> TableBlock:
    detail = f"a row of {line.size} bytes; only its first {HEAD} are kept"
    bad = [bad_line(shown, line.line, detail, line.head)]
    return TableBlock(None, np.zeros(0, POST), bad, 1, _question_ids(line.head))


def bad_line(shown: str, line: int, detail: str, raw: bytes) -> Dropped:
    """A bad row with its place; only the head of an overlong row is kept."""
    return bad_row(f"{shown}:{line}", detail, raw[:HEAD] if len(raw) > MOST else raw)
