"""Posts.xml block by block: what decides about a post as a record of numbers, its text left as bytes.

Every row's frame is checked, and its numbers; its text only when it is decoded.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from rowscan import Names

from lima.records import Dropped
from lima.sources.base import bad_row
from lima.sources.blocks import HEAD, MOST, Fill, LineBlock, OverlongBlock, blocks
from lima.sources.spill import Records
from lima.sources.stack_exchange import row_parser, xml_layout
from lima.sources.stack_exchange.columns import Rows, scan
from lima.sources.stack_exchange.row_parser import ANSWER, QUESTION, PostRow, UnreadableRow

NUMBERS = {  # of POST's fields, the attributes that they are
    "id": "Id",
    "kind": "PostTypeId",
    "score": "Score",
    "parent": "ParentId",
    "accepted": "AcceptedAnswerId",
    "owner": "OwnerUserId",
}
POSTS = Names(*row_parser.COLUMNS, numbers=tuple(NUMBERS.values()))
NONE = np.iinfo(np.int64).min  # an id that is not told
ABSENT = -1
POST = np.dtype(
    [
        ("line", "i8"),
        ("at", "i8"),  # where the row's bytes are kept, or ABSENT
        ("size", "i4"),  # bytes
        ("kind", "i4"),  # PostTypeId
        ("id", "i8"),
        ("parent", "i8"),
        ("accepted", "i8"),
        ("score", "i8"),
        ("owner", "i8"),
        ("fault", "u1"),  # an index of FAULTS
        ("blank", "?"),  # a body of nothing but space
    ]
)
COMMUNITY, ANSWER_BOT = -1, -2  # users that are no people
FABRICATED = (1000000001, 1000000010)  # ids of the posts in dumps since 2024 that nobody wrote
# why a post is left out for what it is; of several the first one counts
FAULTS = ("", "fabricated", "bot_answer", "bot_question", "deleted", "locked", "closed")
# what begins a text that is not all space: a character, or the letter of a reference to one. Behind a value a mark
# stands, which is neither
MEANS = np.isin(np.arange(256), [byte for byte in range(ord("!"), ord("~") + 1) if byte not in b'&"'])
MEANS_REFERRED = np.isin(np.arange(256), list(b"lgaq"))
AND = ord("&")
# a row that cannot be read may still show that it is a question, and which one
QUESTION_ROW = re.compile(rb"\sPostTypeId\s*=\s*[\"']1[\"']")
ID_ATTRIBUTE = re.compile(rb"\sId\s*=\s*[\"'](\d{1,18})[\"']")


class TableBlock(NamedTuple):
    """A block's posts, and its rows that cannot be read."""

    block: LineBlock | None
    posts: Records
    bad: list[Dropped]
    rows: int
    unreadable_questions: list[int]  # ids of questions among the bad rows


def pages(fill: Fill, *, shown: str) -> Iterator[TableBlock]:
    for block in blocks(fill):
        yield _overlong(block, shown) if isinstance(block, OverlongBlock) else page(block, shown=shown)


def page(block: LineBlock, *, shown: str) -> TableBlock:
    rows = scan(block.bytes, block.lines, POSTS)
    found = _records(rows, block)
    number, bad, lost, questions = len(found), list[Dropped](), list[int](), list[int]()
    for index in np.flatnonzero(rows.odd).tolist():
        raw = xml_layout.stripped(block.bytes[rows.start[index] : rows.end[index]].tobytes())
        try:
            if raw:
                _note(found, index, row_parser.post(raw))
                continue
            number -= 1
        except UnreadableRow as error:
            bad.append(bad_line(shown, block.line + index, str(error), raw))
            questions += _question_ids(raw)
        lost.append(index)
    return TableBlock(block, np.delete(found, lost) if lost else found, bad, number, questions)


def _question_ids(raw: bytes) -> list[int]:
    """The id of a row that is certainly a question's."""
    number = ID_ATTRIBUTE.search(raw)
    return [int(number[1])] if number and QUESTION_ROW.search(raw) else []


def _records(rows: Rows, block: LineBlock) -> Records:
    """Of all lines; those that are odd, which this may find some to be, hold nothing yet."""
    found = np.zeros(len(rows.start), POST)
    found["line"] = np.arange(block.line, block.line + len(found))
    found["at"], found["size"] = rows.start + block.offset, rows.end - rows.start
    numbers = dict(zip(NUMBERS, rows.numbers, strict=True))
    numbers["kind"].clip(-(10**9), 10**9, out=numbers["kind"])
    for field in ("parent", "accepted", "owner"):
        numbers[field][~rows.has(NUMBERS[field])] = NONE
    for field, values in numbers.items():
        found[field] = values
    question, answer = numbers["kind"] == QUESTION, numbers["kind"] == ANSWER
    told = rows.has("Id") & rows.has("PostTypeId")
    told &= ~(question | answer) | (rows.has("Score") & rows.has("Body"))
    rows.odd[~(told & (~question | rows.has("Title")) & (~answer | rows.has("ParentId")))] = True
    rows.odd[found["size"] > MOST] = True
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
        found["fault"][holds] = code
    _find_blanks(rows, found)
    return found


def _find_blanks(rows: Rows, found: Records) -> None:
    line, start, end = rows.where("Body")
    first, second = rows.block[start], rows.block[start + 1]
    plain = MEANS[first] | ((first == AND) & MEANS_REFERRED[second])
    for n in np.flatnonzero(~plain).tolist():
        value = rows.block[start[n] : end[n]].tobytes()
        try:
            body = row_parser.row(b'<row Body="' + value + b'"/>')("Body")
            found["blank"][line[n]] = not (body or "").strip()
        except UnreadableRow:  # told when the row is decoded
            continue


def _note(found: Records, index: int, post: PostRow) -> None:
    """Fill in a record from a row that was read exactly."""
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
    told = {"parent": post.parent, "accepted": post.accepted, "owner": post.owner}
    values: dict[str, Any] = {name: NONE if value is None else value for name, value in told.items()}
    values |= {"id": post.id, "kind": min(max(post.kind, -(10**9)), 10**9), "score": post.score}
    values |= {"fault": FAULTS.index(fault), "blank": not post.body.strip()}
    for name, value in values.items():
        found[name][index] = value


def _overlong(line: OverlongBlock, shown: str) -> TableBlock:
    detail = f"a row of {line.size} bytes; only its first {HEAD} are kept"
    bad = [bad_line(shown, line.line, detail, line.head)]
    return TableBlock(None, np.zeros(0, POST), bad, 1, _question_ids(line.head))


def bad_line(shown: str, line: int, detail: str, raw: bytes) -> Dropped:
    """Of a row beyond all measure only the head is kept."""
    return bad_row(f"{shown}:{line}", detail, raw[:HEAD] if len(raw) > MOST else raw)
