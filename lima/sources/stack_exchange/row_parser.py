"""One row of a Stack Exchange Posts.xml, Users.xml or Comments.xml, read exactly: one element on a line, by itself.

Since no line but a row's is parsed, a DOCTYPE is never opened and an entity of its own is an error of its row.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import rowscan
from lxml import etree
from rowscan import Names

from lima.sources.blocks import MOST

QUESTION, ANSWER = 1, 2
COLUMNS = (
    *("Id", "PostTypeId", "AcceptedAnswerId", "ParentId", "CreationDate", "DeletionDate", "Score", "ViewCount", "Body"),
    *("OwnerUserId", "OwnerDisplayName", "LastEditorUserId", "LastEditorDisplayName", "LastEditDate"),
    *("LastActivityDate", "Title", "Tags", "AnswerCount", "CommentCount", "FavoriteCount", "ClosedDate"),
    *("CommunityOwnedDate", "ContentLicense", "LockedDate"),
)
TEXT_NAMES = Names(
    *COLUMNS,
    texts=("Title", "Body", "Tags", "OwnerUserId", "OwnerDisplayName", "ContentLicense", "CreationDate"),
)
# the first day of each licence, https://stackoverflow.com/help/licensing
LICENCES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))
TAG = re.compile(r"[^<>|]+")
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)

Get = Callable[[str], str | None]  # an attribute's value by its name


class UnreadableRow(ValueError):
    """A line that is no row, or a row whose field cannot be read; says which, and what stands there."""


class PostRow(NamedTuple):
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


class PostTexts(NamedTuple):
    """What is told of a chosen post beside its numbers."""

    title: str  # "" of an answer
    body: str  # HTML
    tags: tuple[str, ...]
    owner: int | None
    owner_name: str
    licence: str  # "" where the row does not tell


class CommentRow(NamedTuple):
    id: int
    post: int
    score: int
    user: int | None
    user_name: str
    text: str  # Markdown of the few kinds that comments know
    created: str
    licence: str  # "" where the row does not tell


def row(raw: bytes, names: Names | None = None) -> Get:
    """The attributes of a `<row …/>`, by their names, at least the texts of `names`; lxml reads what is not plain."""
    if len(raw) > MOST:
        raise UnreadableRow(f"a row of {len(raw)} bytes, at most {MOST}")
    if (plain := rowscan.attributes(raw, names)) is not None:
        return plain.get
    try:
        element = etree.fromstring(raw, PARSER)
    except etree.XMLSyntaxError as error:
        if raw.count(b"<row ") > 1:
            raise UnreadableRow(f"{raw.count(b'<row ')} rows on one line; put each on its own line") from error
        raise UnreadableRow(f"no XML: {error.msg.replace(' line 1,', '')}") from error
    if element.tag != "row":
        raise UnreadableRow(f"an element <{element.tag}>, not <row>")
    get: Get = element.get
    return get


def post(raw: bytes) -> PostRow:
    return _post(row(raw))


def _post(get: Get) -> PostRow:
    kind = _number(get, "PostTypeId")
    return PostRow(
        id=_number(get, "Id"),
        kind=kind,
        parent=_number(get, "ParentId") if kind == ANSWER else None,
        accepted=None if get("AcceptedAnswerId") is None else _number(get, "AcceptedAnswerId"),
        score=_number(get, "Score") if kind in (QUESTION, ANSWER) else 0,
        owner=None if get("OwnerUserId") is None else _number(get, "OwnerUserId"),
        owner_name=get("OwnerDisplayName") or "",
        title=_text(get, "Title") if kind == QUESTION else "",
        body=_text(get, "Body") if kind in (QUESTION, ANSWER) else "",
        tags=tags_of(get),
        licence=licence_of(get),
        closed=get("ClosedDate") is not None,
        deleted=get("DeletionDate") is not None,
        locked=get("LockedDate") is not None,
    )


def post_texts(raw: bytes) -> PostTexts:
    """What a post says whose numbers are known."""
    get = row(raw, TEXT_NAMES)
    owner = get("OwnerUserId")
    return PostTexts(
        title=get("Title") or "",
        body=get("Body") or "",
        tags=tags_of(get),
        owner=None if owner is None else int(owner),
        owner_name=get("OwnerDisplayName") or "",
        licence=licence_of(get),
    )


def user(raw: bytes) -> tuple[int, str]:
    """A user's id and display name."""
    get = row(raw)
    return _number(get, "Id"), _text(get, "DisplayName")


def comment(raw: bytes) -> CommentRow:
    get = row(raw)
    return CommentRow(
        id=_number(get, "Id"),
        post=_number(get, "PostId"),
        score=_number(get, "Score"),
        user=None if get("UserId") is None else _number(get, "UserId"),
        user_name=get("UserDisplayName") or "",
        text=_text(get, "Text"),
        created=_text(get, "CreationDate"),
        licence=licence_of(get),
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


def tags_of(get: Get) -> tuple[str, ...]:
    return tuple(TAG.findall(get("Tags") or ""))


def licence_of(get: Get) -> str:
    return get("ContentLicense") or _licence((get("CreationDate") or "")[:10])


@lru_cache(10_000)
def _licence(day: str) -> str:
    """Of posts from before ContentLicense was a column."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        return ""
    return next(licence for first, licence in LICENCES if day >= first)
