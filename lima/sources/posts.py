"""Rows of a Stack Exchange Posts.xml, Users.xml or Comments.xml: one element a line, each read by itself.

Since no line but a row's is parsed, a DOCTYPE is never opened and an entity of its own is an error of its row.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lxml import etree
from tqdm import tqdm

QUESTION, ANSWER = 1, 2
# the first day of each licence, https://stackoverflow.com/help/licensing
LICENCES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))
BOM = b"\xef\xbb\xbf"
FRAME = re.compile(rb"<\?|<!|</?(?:posts|users|comments)\b")  # what stands around the rows


class UnreadableRow(ValueError):
    """A line that is no row, or a row whose field cannot be read; says which, and what stands there."""


class Line(NamedTuple):
    number: int
    offset: int  # of its first byte in the file
    raw: bytes


@dataclass(frozen=True)
class Post:
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
    closed: str  # when, "" where it is open


@dataclass(frozen=True)
class Comment:
    id: int
    post: int
    score: int
    user: int | None
    user_name: str
    text: str  # Markdown of the few kinds that comments know
    created: str
    licence: str  # "" where the row does not tell


def lines(path: Path) -> Iterator[Line]:
    """The rows' lines; empty ones and what stands around the rows are left out."""
    offset = 0
    with path.open("rb") as file, tqdm(total=path.stat().st_size, unit="B", unit_scale=True, disable=None) as bar:
        bar.set_description(path.name)
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(BOM).strip()
            if raw and not FRAME.match(raw):
                yield Line(number, offset, raw)
            offset += len(line)
            bar.update(len(line))


def row(raw: bytes) -> dict[str, str]:
    """The attributes of a `<row …/>`."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        element = etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableRow(f"no XML: {error.msg.replace(' line 1,', '')}") from error
    if element.tag != "row":
        raise UnreadableRow(f"an element <{element.tag}>, not <row>")
    return dict(element.attrib)


def post(raw: bytes) -> Post:
    fields = row(raw)
    kind = _number(fields, "PostTypeId")
    owner = fields.get("OwnerUserId")
    return Post(
        id=_number(fields, "Id"),
        kind=kind,
        parent=_number(fields, "ParentId") if kind == ANSWER else None,
        accepted=_number(fields, "AcceptedAnswerId") if "AcceptedAnswerId" in fields else None,
        score=_number(fields, "Score") if kind in (QUESTION, ANSWER) else 0,
        owner=None if owner is None else _number(fields, "OwnerUserId"),
        owner_name=fields.get("OwnerDisplayName", ""),
        title=_text(fields, "Title") if kind == QUESTION else "",
        body=_text(fields, "Body") if kind in (QUESTION, ANSWER) else "",
        tags=tuple(tag for tag in re.split(r"[<>|]", fields.get("Tags", "")) if tag),
        licence=fields.get("ContentLicense", "") or _licence(fields.get("CreationDate", "")),
        closed=fields.get("ClosedDate", ""),
    )


def user(raw: bytes) -> tuple[int, str]:
    """A user's id and display name."""
    fields = row(raw)
    return _number(fields, "Id"), _text(fields, "DisplayName")


def comment(raw: bytes) -> Comment:
    fields = row(raw)
    return Comment(
        id=_number(fields, "Id"),
        post=_number(fields, "PostId"),
        score=_number(fields, "Score"),
        user=_number(fields, "UserId") if "UserId" in fields else None,
        user_name=fields.get("UserDisplayName", ""),
        text=_text(fields, "Text"),
        created=_text(fields, "CreationDate"),
        licence=fields.get("ContentLicense", "") or _licence(fields.get("CreationDate", "")),
    )


def _text(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise UnreadableRow(f"no {name}")
    return fields[name]


def _number(fields: dict[str, str], name: str) -> int:
    text = _text(fields, name)
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        raise UnreadableRow(f"{name} {text[:80]!r} is no number")
    return int(text)


def _licence(created: str) -> str:
    """By the day of creation; posts from before ContentLicense was a column."""
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", created):
        return ""
    return next(licence for first, licence in LICENCES if created >= first)
