"""Rows of the XML tables of a Stack Exchange site: their position in the file, their numbers and their texts.

One regular expression per table matches a row as published tables write it: attributes in a fixed order. Rows in any
other layout are found by a tokenizer and parsed by lxml. A row is parsed on its own: a DOCTYPE is never processed, and
a custom entity is an error of its row.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

from lxml import etree
from tqdm import tqdm

from lima.display import visible_line
from lima.records import Dropped
from lima.sources.base import DumpError, bad_row
from lima.sources.stack_exchange.reader.archive import Table

MAX_ROW = 1 << 20  # bytes; the longest body of a site has 30,000 characters, escaped up to ten times as many bytes
HEAD = 1000  # bytes that are kept of a longer row
CHUNK = 1 << 22  # bytes read at a time
QUESTION, ANSWER = 1, 2  # PostTypeId
COMMUNITY, ANSWER_BOT = -1, -2  # system users
FABRICATED = (1000000001, 1000000010)  # ids of the artificial posts in dumps since 2024
# first day of each license, https://stackoverflow.com/help/licensing
LICENSES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))

_ATTRIBUTE = rb"\s++[^\s=<>\"'/]++\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+')"
TOKEN = re.compile(
    rb"\s++|\xef\xbb\xbf|</?(?:posts|users|comments)\b[^<>]*+>|<!DOCTYPE[^\[>]*+(?:\[[^\]]{0,10000}+\]\s*+)?+>"
    rb"|(?P<opening><!--|<\?)|(?P<row><row(?:%s)*+\s*+(?:/>|>\s*+</row\s*+>))" % _ATTRIBUTE,
    re.DOTALL,
)
CLOSING = {b"<!--": re.compile(rb"-->"), b"<?": re.compile(rb"\?>")}
MALFORMED_END = re.compile(rb"\n|<row\b|</?(?:posts|users|comments)\b|<!|<\?")
END_TAG = re.compile(rb"</(?:posts|users|comments)\s*+>\s*+(?:<!--.*?-->\s*+)*+\Z", re.DOTALL)
TAIL = 1 << 12  # bytes at the end of a table in which its end tag is searched
LONG_ROW_END = re.compile(rb"[\n<]")
# parts of a layout
VALUE = rb'[^"]*+'  # several times as fast as `[^"<]*+`, so that `<` is searched apart
PRESENT = b"()" + VALUE
NUMBER = rb"([-+]?[0-9]{1,18})"
VISIBLE = (
    rb"([!#-%'-~]|&[lagq]|(?=\"))" + VALUE
)  # starts with a visible character or &lt; &amp; &gt; &quot;, or is empty
# for the id of an unreadable question
QUESTION_ROW = re.compile(rb"\sPostTypeId\s*=\s*[\"']1[\"']")
ID_ATTRIBUTE = re.compile(rb"\sId\s*=\s*[\"'](\d{1,18})[\"']")
TAG = re.compile(r"[^<>|]+")
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)

Get = Callable[[str], str | None]  # an attribute's value by its name
Value = bytes | None  # captured of an attribute; None if it is missing
Columns = tuple[int | str | None, ...]  # of a row in the database


class UnreadableRow(ValueError):
    """Text that is not a row, or a row with an unreadable field. The message names the field and its value."""


class BadRow(NamedTuple):
    line: int  # counted from 1
    detail: str
    raw: bytes  # only the first `HEAD` bytes if more than `MAX_ROW`


class PostTexts(NamedTuple):
    raw: bytes
    title: str  # "" for an answer
    body: str  # HTML
    tags: tuple[str, ...]
    owner: int | None
    owner_name: str
    license: str  # "" if unknown
    closed: bool


class CommentRow(NamedTuple):
    raw: bytes
    id: int
    score: int
    user: int | None
    user_name: str
    text: str  # the Markdown subset of comments
    created: str
    license: str  # "" if unknown


class Layout:
    """How the rows of a table become rows of the database.

    Args:
        attributes: The table's attributes in the order of published tables.
        captures: What to read of the values of some attributes, in that order: a regular expression with one group,
            which captures a value, or a part of it that `columns` needs.
        columns: Makes a row of the database from offset, size, line and the captured values.
    """

    def __init__(self, attributes: str, captures: Mapping[str, bytes], columns: Callable[..., Columns]) -> None:
        self.captures, self.columns = captures, columns
        values = [(name.encode(), captures.get(name, VALUE)) for name in attributes.split()]
        # Group 1 marks the start. The empty alternative ends an iteration at the first row that does not match.
        self.row = re.compile(rb"\s*+()<row%s ?+/>|" % b"".join(rb'(?: %s="%s")?+' % pair for pair in values))


class _Buffer:
    """A part of a table, a position in it, and the line number of that position."""

    def __init__(self, table: Table, bar: tqdm) -> None:
        self._table, self._bar = table, bar
        self.data = b""
        self.at = 0
        self.offset = 0  # of `data` in the table, bytes
        self.line = 1
        self.ended = False

    def fill(self) -> bool:
        """Read another chunk and discard what precedes the position. False at the end of the table."""
        chunk = self._table.file.read(CHUNK)
        self.data, self.offset, self.at = self.data[self.at :] + chunk, self.offset + self.at, 0
        self.ended = not chunk
        self._bar.update(len(chunk))
        return not self.ended

    def advance(self, at: int) -> None:
        self.line += self.data.count(b"\n", self.at, at)
        self.at = at

    def skip_to(self, end: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Advance to a match of up to three bytes; None and the end of the table if there is none."""
        while not (match := end.search(self.data, self.at)):
            self.advance(max(self.at, len(self.data) - 2))
            if not self.fill():
                self.advance(len(self.data))
                return None
        self.advance(match.start())
        return match


def scan(table: Table, layout: Layout) -> Iterator[Columns | BadRow]:
    """All rows of a table, and malformed text between them. Memory is bounded for rows of any size.

    A table without its end tag is read to its end, with a warning.

    Raises:
        DumpError: The table ends within a comment.
    """
    _warn_if_truncated(table)
    table.file.seek(0)
    with tqdm(total=table.size, unit="B", unit_scale=True, disable=None, desc=visible_line(table.shown)) as bar:
        buffer = _Buffer(table, bar)
        while buffer.at < len(buffer.data) or buffer.fill():
            yield from _regular_rows(buffer, layout)
            if buffer.at < len(buffer.data):
                yield from _irregular(buffer, layout, table.shown)


def _warn_if_truncated(table: Table) -> None:
    if table.size and not END_TAG.search(table.read(max(0, table.size - TAIL), TAIL)):
        logging.getLogger(__name__).warning(
            "%s is truncated: it has no end tag, such as </posts>, so later rows are missing; download it again",
            visible_line(table.shown),
        )


def _regular_rows(buffer: _Buffer, layout: Layout) -> Iterator[Columns | BadRow]:
    """Rows from the position on, up to the first one in another layout."""
    data, at, line, counted = buffer.data, buffer.at, buffer.line, buffer.at
    for match in layout.row.finditer(data, at):
        start, end = match.start(1), match.end()
        if start < 0 or data.find(b"<", start + 1, end) >= 0 or end - start > MAX_ROW:
            break
        line += data.count(b"\n", counted, start)
        counted, at = start, end
        _, *values = match.groups()
        try:
            yield layout.columns(buffer.offset + start, end - start, line, *values)
        except UnreadableRow as error:
            yield BadRow(line, str(error), data[start:end])
    buffer.advance(at)


def _irregular(buffer: _Buffer, layout: Layout, shown: str) -> Iterator[Columns | BadRow]:
    """The token at the position, if it is a row or malformed."""
    at = buffer.at
    if token := TOKEN.match(buffer.data, at):
        if row := token["row"]:
            yield _parsed(row, layout, buffer.offset + at, len(row), buffer.line)
        buffer.advance(token.end())
        if opening := token["opening"]:
            if not (closing := buffer.skip_to(CLOSING[opening])):
                raise DumpError(f"{shown} is truncated: it ends within a comment; download it again")
            buffer.advance(closing.end())
    elif buffer.ended or len(buffer.data) - at > 2 * MAX_ROW:
        yield _malformed(buffer, layout)
    else:
        buffer.fill()


def _malformed(buffer: _Buffer, layout: Layout) -> Columns | BadRow:
    """The text up to the end of its line, or to the next element if that comes first."""
    line, start = buffer.line, buffer.offset + buffer.at
    if end := MALFORMED_END.search(buffer.data, buffer.at + 1):
        raw = buffer.data[buffer.at : end.start()].strip()
        buffer.advance(end.start())
        return _parsed(raw, layout, start, len(raw), line)
    head = buffer.data[buffer.at : buffer.at + MAX_ROW].strip()
    buffer.advance(len(buffer.data))
    buffer.skip_to(LONG_ROW_END)
    return _parsed(head, layout, start, buffer.offset + buffer.at - start, line)


def _parsed(raw: bytes, layout: Layout, at: int, size: int, line: int) -> Columns | BadRow:
    """A row in any layout. `raw` may be the head of a longer row."""
    try:
        if size > MAX_ROW:
            raise UnreadableRow(f"a row of {size} bytes, at most {MAX_ROW}")
        element = _element(raw)
        for name, pattern in layout.captures.items():
            if pattern == NUMBER and (value := element.get(name)) is not None:
                _number(name, value)
        values = [element.get(name) for name in layout.captures]
        return layout.columns(at, size, line, *(None if value is None else value.encode() for value in values))
    except UnreadableRow as error:
        return BadRow(line, str(error), raw if size <= MAX_ROW else raw[:HEAD])


def _post(
    at: int,
    size: int,
    line: int,
    number: Value,
    kind_number: Value,
    accepted: Value,
    parent: Value,
    deleted: Value,
    score: Value,
    body: Value,
    owner_number: Value,
    title: Value,
    closed: Value,
    locked: Value,
) -> Columns:
    kind, id_ = _required("PostTypeId", kind_number), _required("Id", number)
    if kind == ANSWER:
        _required("ParentId", parent)
    has_text = kind in (QUESTION, ANSWER)
    if has_text and (score is None or body is None or (kind == QUESTION and title is None)):
        missing = "Score" if score is None else "Body" if body is None else "Title"
        raise UnreadableRow(f"missing {missing}")
    owner = None if owner_number is None else int(owner_number)
    reason = None
    if id_ in FABRICATED and owner == COMMUNITY:
        reason = "fabricated"
    elif has_text:
        if owner == ANSWER_BOT:
            reason = "bot_question" if kind == QUESTION else "bot_answer"
        elif deleted is not None:
            reason = "deleted"
        elif locked is not None:
            reason = "locked"
        elif closed is not None and kind == QUESTION:
            reason = "closed"
    return (
        *(at, size, line, id_, kind),
        None if parent is None else int(parent),
        None if accepted is None else int(accepted),
        None if score is None else int(score),
        owner,
        has_text and not (body or b"").decode().strip(),
        reason,
    )


def _user(at: int, size: int, line: int, number: Value, name: Value) -> Columns:
    id_ = _required("Id", number)
    if name is None:
        raise UnreadableRow("missing DisplayName")
    return id_, at, size, line


def _comment(at: int, size: int, line: int, post: Value, user: Value) -> Columns:
    return at, size, line, _required("PostId", post), None if user is None else int(user)


POSTS = Layout(
    "Id PostTypeId AcceptedAnswerId ParentId CreationDate DeletionDate Score ViewCount Body OwnerUserId "
    "OwnerDisplayName LastEditorUserId LastEditorDisplayName LastEditDate LastActivityDate Title Tags AnswerCount "
    "CommentCount FavoriteCount ClosedDate CommunityOwnedDate ContentLicense LockedDate",
    {
        **dict.fromkeys(("Id", "PostTypeId", "AcceptedAnswerId", "ParentId"), NUMBER),
        **{"DeletionDate": PRESENT, "Score": NUMBER, "Body": VISIBLE, "OwnerUserId": NUMBER},
        **dict.fromkeys(("Title", "ClosedDate", "LockedDate"), PRESENT),
    },
    _post,
)
USERS = Layout(
    "Id Reputation CreationDate DisplayName LastAccessDate WebsiteUrl Location AboutMe Views UpVotes DownVotes "
    "ProfileImageUrl EmailHash Age AccountId",
    {"Id": NUMBER, "DisplayName": PRESENT},
    _user,
)
COMMENTS = Layout(
    "Id PostId Score Text CreationDate UserDisplayName UserId ContentLicense",
    {"PostId": NUMBER, "UserId": NUMBER},
    _comment,
)


def post_texts(raw: bytes) -> PostTexts:
    """Parse the texts of a post. Raises UnreadableRow."""
    raw = _on_one_line(raw)
    get: Get = _element(raw).get
    owner = get("OwnerUserId")
    return PostTexts(
        raw=raw,
        title=get("Title") or "",
        body=get("Body") or "",
        tags=tuple(TAG.findall(get("Tags") or "")),
        owner=None if owner is None else int(owner),
        owner_name=get("OwnerDisplayName") or "",
        license=_license_of(get),
        closed=get("ClosedDate") is not None,
    )


def display_name(raw: bytes) -> str:
    """Parse the name of a user. Raises UnreadableRow."""
    return _element(raw).get("DisplayName") or ""


def comment_texts(raw: bytes) -> CommentRow:
    """Parse a comment. Raises UnreadableRow."""
    raw = _on_one_line(raw)
    get: Get = _element(raw).get
    user = get("UserId")
    return CommentRow(
        raw=raw,
        id=_number("Id", get("Id")),
        score=_number("Score", get("Score")),
        user=None if user is None else _number("UserId", user),
        user_name=get("UserDisplayName") or "",
        text=_text("Text", get("Text")),
        created=_text("CreationDate", get("CreationDate")),
        license=_license_of(get),
    )


def question_ids(raw: bytes) -> list[int]:
    """The id of an unreadable row if it certainly is a question; at most one."""
    number = ID_ATTRIBUTE.search(raw)
    return [int(number[1])] if number and QUESTION_ROW.search(raw) else []


def bad_line(shown: str, row: BadRow) -> Dropped:
    return bad_row(f"{shown}:{row.line}", row.detail, row.raw)


class RowElement(Protocol):
    """A row as an XML element of lxml, which has no types."""

    tag: str

    def get(self, name: str, /) -> str | None: ...


def _element(raw: bytes) -> RowElement:
    """Parse a row as an XML element."""
    try:
        element: RowElement = etree.fromstring(raw, PARSER)
    except etree.XMLSyntaxError as error:
        raise UnreadableRow(f"invalid XML: {error.msg.replace(' line 1,', '')}") from error
    if element.tag != "row":
        raise UnreadableRow(f"an element <{element.tag}>, not <row>")
    return element


def _on_one_line(raw: bytes) -> bytes:
    """The row with line ends as spaces, as XML reads them within a value, so that its digest has no line ends."""
    return raw.replace(b"\r\n", b" ").replace(b"\n", b" ") if b"\n" in raw else raw


def _required(name: str, value: Value) -> int:
    if value is None:
        raise UnreadableRow(f"missing {name}")
    return int(value)


def _text(name: str, text: str | None) -> str:
    if text is None:
        raise UnreadableRow(f"missing {name}")
    return text


def _number(name: str, value: str | None) -> int:
    text = _text(name, value)
    if not re.fullmatch(NUMBER.decode(), text):
        raise UnreadableRow(f"{name} {text[:80]!r} is not a number")
    return int(text)


def _license_of(get: Get) -> str:
    return get("ContentLicense") or _license((get("CreationDate") or "")[:10])


@lru_cache(10_000)
def _license(day: str) -> str:
    """The license by creation date, for dumps without the column ContentLicense; "" without a date."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        return ""
    return next(license for first, license in LICENSES if day >= first)
