"""What the chosen posts of a site say: their numbers are known by then, and only their words are decoded."""

from collections.abc import Sequence
from typing import NamedTuple

from lxml import etree

from lima.sources import posts
from lima.sources.posts import Get, UnreadableRow


class Words(NamedTuple):
    title: str  # "" of an answer
    body: str  # HTML
    tags: tuple[str, ...]
    owner: int | None
    owner_name: str
    licence: str  # "" where the row does not tell


def words(raws: Sequence[bytes]) -> list[Words | UnreadableRow]:
    """Of many rows, parsed in one go; where one of them is no XML, each by itself."""
    try:
        elements = list(etree.fromstring(b"<posts>" + b"".join(raws) + b"</posts>", posts.PARSER))
    except etree.XMLSyntaxError:
        elements = []
    if len(elements) == len(raws):
        return [_words(element.get) for element in elements]
    return [_alone(raw) for raw in raws]


def _alone(raw: bytes) -> Words | UnreadableRow:
    try:
        return _words(posts.row(raw))
    except UnreadableRow as error:
        return error


def _words(get: Get) -> Words:
    owner = get("OwnerUserId")
    return Words(
        title=get("Title") or "",
        body=get("Body") or "",
        tags=posts.tags_of(get),
        owner=None if owner is None else int(owner),
        owner_name=get("OwnerDisplayName") or "",
        licence=posts.licence_of(get),
    )
