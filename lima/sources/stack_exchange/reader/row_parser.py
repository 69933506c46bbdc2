"""Parser for single rows of Stack Exchange tables: one XML element per line.

Only lines of rows are parsed. A DOCTYPE is therefore never processed, and a custom entity is an error of its row.
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
# first day of each license, https://stackoverflow.com/help/licensing
LICENSES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))
TAG = re.compile(r"[^<>|]+")
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)

Get = Callable[[str], str | None]  # an attribute's value by its name


class UnreadableRow(ValueError):
    """A line that is not a row, or a row with an unreadable field. The message names the field and its value."""


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
    license: str  # "" if unknown
    closed: bool
    deleted: bool
    locked: bool


class PostTexts(NamedTuple):
    """The texts of a selected post."""

    title: str  # "" for an answer
    body: str  # HTML
    tags: tuple[str, ...]
    owner: int | None
    owner_name: str
    license: str  # "" if unknown


class CommentRow(NamedTuple):
    id: int
    post: int
    score: int
    user: int | None
    user_name: str
    text: str  # the Markdown subset of comments
    created: str
    license: str  # "" if unknown


def row(raw: bytes, names: Names | None = None) -> Get:
    """Parse the attributes of a `<row …/>`, with lxml if the compiled parser does not support the row.

    Args:
        raw: The element's bytes.
        names: Known names; only its `texts` are guaranteed to be in the result. None for all attributes.
    """
    if len(raw) > MOST:
        raise UnreadableRow(f"a row of {len(raw)} bytes, at most {MOST}")
    if (attributes := rowscan.attributes(raw, names)) is not None:
        return attributes.get
    try:
        element = etree.fromstring(raw, PARSER)
    except etree.XMLSyntaxError as error:
        if raw.count(b"<row ") > 1:
            raise UnreadableRow(f"{raw.count(b'<row ')} rows on one line; put each on its own line") from error
        raise UnreadableRow(f"invalid XML: {error.msg.replace(' line 1,', '')}") from error
    if element.tag != "row":
        raise UnreadableRow(f"an element <{element.tag}>, not <row>")
    get: Get = element.get
    return get


def post(raw: bytes) -> PostRow:
    """Parse all fields of a row of Posts.xml."""
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
        license=license_of(get),
        closed=get("ClosedDate") is not None,
        deleted=get("DeletionDate") is not None,
        locked=get("LockedDate") is not None,
    )


def post_texts(raw: bytes) -> PostTexts:
    """Parse the texts of a post whose numbers were already checked."""
    get = row(raw, TEXT_NAMES)
    owner = get("OwnerUserId")
    return PostTexts(
        title=get("Title") or "",
        body=get("Body") or "",
        tags=tags_of(get),
        owner=None if owner is None else int(owner),
        owner_name=get("OwnerDisplayName") or "",
        license=license_of(get),
    )


def user(raw: bytes) -> tuple[int, str]:
    """Parse a user's id and display name."""
    get = row(raw)
    return _number(get, "Id"), _text(get, "DisplayName")


def comment(raw: bytes) -> CommentRow:
    """Parse a row of Comments.xml."""
    get = row(raw)
    return CommentRow(
        id=_number(get, "Id"),
        post=_number(get, "PostId"),
        score=_number(get, "Score"),
        user=None if get("UserId") is None else _number(get, "UserId"),
        user_name=get("UserDisplayName") or "",
        text=_text(get, "Text"),
        created=_text(get, "CreationDate"),
        license=license_of(get),
    )


def _text(get: Get, name: str) -> str:
    text = get(name)
    if text is None:
        raise UnreadableRow(f"missing {name}")
    return text


def _number(get: Get, name: str) -> int:
    text = _text(get, name)
    if len(text) <= 18 and text.isascii() and text.isdigit():
        return int(text)
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        raise UnreadableRow(f"{name} {text[:80]!r} is not a number")
    return int(text)


def tags_of(get: Get) -> tuple[str, ...]:
    return tuple(TAG.findall(get("Tags") or ""))


def license_of(get: Get) -> str:
    return get("ContentLicense") or _license((get("CreationDate") or "")[:10])


@lru_cache(10_000)
def _license(day: str) -> str:
    """The license by creation date, for dumps without the column ContentLicense; "" without a date."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        return ""
    return next(license for first, license in LICENSES if day >= first)
