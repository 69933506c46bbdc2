"""One row of a Stack Exchange Posts.xml, Users.xml or Comments.xml, read exactly: one element on a line, by itself.

Since no line but a row's is parsed, a DOCTYPE is never opened and an entity of its own is an error of its row.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lxml import etree
from tqdm import tqdm

from lima.sources.blocks import MOST

QUESTION, ANSWER = 1, 2
# the first day of each licence, https://stackoverflow.com/help/licensing
LICENCES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))
BOM = b"\xef\xbb\xbf"
FRAME = re.compile(rb"<\?|<!|</?(?:posts|users|comments)\b")  # what stands around the rows
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)

Get = Callable[[str], str | None]  # an attribute's value by its name


class UnreadableRow(ValueError):
    """A line that is no row, or a row whose field cannot be read; says which, and what stands there."""


class Post(NamedTuple):
    id: int
    kind: int  # PostTypeId
    parent: int | None
    accepted: int | None
    score: int
    owner: int | None
    owner_name: str
    title: str
    body: str  # HTML
    tags: tuple[str, ...]
    licence: str  # "" where the row does not tell
    closed: bool
    deleted: bool
    locked: bool


class Comment(NamedTuple):
    id: int
    post: int
    score: int
    user: int | None
    user_name: str
    text: str  # Markdown of the few kinds that comments know
    created: str
    licence: str  # "" where the row does not tell


class Line(NamedTuple):
    number: int
    raw: bytes


def lines(path: Path) -> Iterator[Line]:
    """The rows' lines; empty ones and what stands around the rows are left out."""
    with path.open("rb") as file, tqdm(total=path.stat().st_size, unit="B", unit_scale=True, disable=None) as bar:
        bar.set_description(path.name)
        for number, line in enumerate(file, start=1):
            if raw := stripped(line):
                yield Line(number, raw)
            bar.update(len(line))


def stripped(line: bytes) -> bytes:
    """A line without mark, indentation and end; b"" where it stands around the rows."""
    raw = line.removeprefix(BOM).strip()
    return b"" if FRAME.match(raw) else raw


def row(raw: bytes) -> Get:
    """The attributes of a `<row …/>`, by their names."""
    if len(raw) > MOST:
        raise UnreadableRow(f"a row of {len(raw)} bytes, at most {MOST}")
    try:
        element = etree.fromstring(raw, PARSER)
    except etree.XMLSyntaxError as error:
        raise UnreadableRow(f"no XML: {error.msg.replace(' line 1,', '')}") from error
    if element.tag != "row":
        raise UnreadableRow(f"an element <{element.tag}>, not <row>")
    get: Get = element.get
    return get


def rows(raws: Sequence[bytes]) -> list[Post | UnreadableRow]:
    """Many rows' posts, parsed in one go; where one of them is no XML, each by itself."""
    try:
        elements = list(etree.fromstring(b"<posts>" + b"".join(raws) + b"</posts>", PARSER))
    except etree.XMLSyntaxError:
        elements = []
    together = len(elements) == len(raws)
    found: list[Post | UnreadableRow] = []
    for index, raw in enumerate(raws):
        try:
            found.append(_post(elements[index].get) if together else post(raw))
        except UnreadableRow as error:
            found.append(error)
    return found


def post(raw: bytes) -> Post:
    return _post(row(raw))


def _post(get: Get) -> Post:
    kind = _number(get, "PostTypeId")
    tags = get("Tags") or ""
    return Post(
        id=_number(get, "Id"),
        kind=kind,
        parent=_number(get, "ParentId") if kind == ANSWER else None,
        accepted=None if get("AcceptedAnswerId") is None else _number(get, "AcceptedAnswerId"),
        score=_number(get, "Score") if kind in (QUESTION, ANSWER) else 0,
        owner=None if get("OwnerUserId") is None else _number(get, "OwnerUserId"),
        owner_name=get("OwnerDisplayName") or "",
        title=_text(get, "Title") if kind == QUESTION else "",
        body=_text(get, "Body") if kind in (QUESTION, ANSWER) else "",
        tags=tuple(tag for tag in re.split(r"[<>|]", tags) if tag) if tags else (),
        licence=get("ContentLicense") or _licence(get("CreationDate") or ""),
        closed=get("ClosedDate") is not None,
        deleted=get("DeletionDate") is not None,
        locked=get("LockedDate") is not None,
    )


def user(raw: bytes) -> tuple[int, str]:
    """A user's id and display name."""
    get = row(raw)
    return _number(get, "Id"), _text(get, "DisplayName")


def comment(raw: bytes) -> Comment:
    get = row(raw)
    return Comment(
        id=_number(get, "Id"),
        post=_number(get, "PostId"),
        score=_number(get, "Score"),
        user=None if get("UserId") is None else _number(get, "UserId"),
        user_name=get("UserDisplayName") or "",
        text=_text(get, "Text"),
        created=_text(get, "CreationDate"),
        licence=get("ContentLicense") or _licence(get("CreationDate") or ""),
    )


def _text(get: Get, name: str) -> str:
    text = get(name)
    if text is None:
        raise UnreadableRow(f"no {name}")
    return text


def _number(get: Get, name: str) -> int:
    text = _text(get, name)
    if len(text) <= 18 and text.isascii() and text.isdigit():
        return int(text)
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        raise UnreadableRow(f"{name} {text[:80]!r} is no number")
    return int(text)


def _licence(created: str) -> str:
    """By the day of creation; posts from before ContentLicense was a column."""
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", created):
        return ""
    return next(licence for first, licence in LICENCES if created >= first)
