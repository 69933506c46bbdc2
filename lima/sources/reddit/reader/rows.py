"""Submissions and comments of Reddit, from the dumps of Pushshift, of its successors or in the API's own form.

A row with a title is a submission, one with a body a comment; the name of the file does not matter.
"""

import html
import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lima.records import Candidate, Provenance
from lima.sources import json_rows
from lima.sources.json_rows import JsonRow, RowError

# placeholders of removed texts
REMOVED = re.compile(r"\[\s*(?:deleted|removed|unavailable|deleted by user|removed by \w+)\s*\]", re.IGNORECASE)
BOTS = {"AutoModerator"}
TEAM = "-ModTeam"  # ends the name of a subreddit's shared moderator account


def _seconds(value: object) -> float:
    """Seconds since 1970, as a number or a date; 0 if unknown."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0


Score = Annotated[int, Field(strict=False, ge=-(2**53), le=2**53)]  # some conversions write 12.0
Seconds = Annotated[float, BeforeValidator(_seconds)]
Meta = Annotated[dict[str, Any], BeforeValidator(lambda value: value if isinstance(value, dict) else {})]


class RedditPost(JsonRow):
    """What submissions and comments have in common."""

    id: str = Field(min_length=1)
    author: str | None = None
    subreddit: str = Field(min_length=1)
    score: Score | None = None
    stickied: bool | None = None
    distinguished: str | None = None  # "moderator" or "admin", who then speaks as such
    edited: Seconds = 0.0
    retrieved_on: Seconds = 0.0
    retrieved_utc: Seconds = 0.0
    meta: Meta = Field(alias="_meta", default_factory=dict)  # in dumps since 2024; has the time of a second retrieval

    def version(self) -> float:
        """When the text was retrieved, seconds since 1970; 0 if unknown."""
        again = [_seconds(value) for key, value in self.meta.items() if key.startswith("retrieved")]
        return max(self.edited, self.retrieved_on, self.retrieved_utc, *again)


class RedditSubmission(RedditPost):
    title: str = Field(min_length=1)
    selftext: str | None = None
    permalink: str | None = None
    link_flair_text: str | None = None
    over_18: bool | None = None
    crosspost_parent: str | None = None
    removed_by_category: str | None = None
    hide_score: bool | None = None

    def refusal(self) -> tuple[str, str] | None:
        """The reason why it is not a candidate, and the detail."""
        for text in ((self.selftext or "").strip(), self.title.strip()):
            if REMOVED.fullmatch(text):
                return "removed", f"the text is {text}"
        if self.removed_by_category:
            return "removed", f"removed_by_category is {self.removed_by_category}"
        if self.over_18:
            return "nsfw", "over_18 is true"
        if self.crosspost_parent:
            return "crosspost", f"of {self.crosspost_parent}"
        if self.stickied or self.distinguished:
            return "moderator", f"distinguished is {self.distinguished}" if self.distinguished else "stickied is true"
        return None

    def candidate(self, *, source: str, license: str, digest: str) -> Candidate:
        """Without a reply."""
        path = self.permalink or f"/r/{self.subreddit}/comments/{self.id}/"
        return Candidate(
            id=f"{source}/{self.subreddit}/{self.id}",
            title=text_of(self.title),
            description=text_of(self.selftext or ""),
            response="",
            later_turns=(),
            markup="markdown",
            score=None if self.hide_score else self.score,
            response_score=None,
            tags=(self.link_flair_text,) if self.link_flair_text else (),
            provenance=Provenance(
                source=source,
                site=self.subreddit,
                id=self.id,
                url=f"https://www.reddit.com{path}",
                author=self.author or "",
                license=license,
                digest=digest,
            ),
        )


class RedditComment(RedditPost):
    body: str
    link_id: str  # t3_ and the submission's id
    # the same for a top-level comment, or null in dumps of 2022 and 2023, which give a number to all others
    parent_id: str | int | None = None
    score_hidden: bool | None = None  # `score` is then a placeholder

    def is_top_level(self) -> bool:
        """Whether it answers the submission itself; unknown without the field."""
        return self.parent_id == self.link_id or (self.parent_id is None and "parent_id" in self.model_fields_set)

    def is_a_reply(self) -> bool:
        """Whether it may become the response."""
        if self.score is None or self.score_hidden or self.stickied or self.distinguished:
            return False
        author, text = self.author or "", self.body.strip()
        return bool(text) and not REMOVED.fullmatch(text) and author not in BOTS and not author.endswith(TEAM)


def fields(line: bytes) -> dict[str, Any]:
    """Parse a line. Raises RowError."""
    value = json_rows.loads(line)
    if isinstance(value, dict) and "kind" in value and isinstance(value.get("data"), dict):
        value = value["data"]  # the API's own form
    if not isinstance(value, dict):
        raise RowError(f"no object, but {type(value).__name__}")
    return value


def post(value: dict[str, Any]) -> RedditSubmission | RedditComment:
    """Raises RowError"""
    if "title" in value:
        return json_rows.check(value, RedditSubmission)
    if "body" in value:
        return json_rows.check(value, RedditComment)
    raise RowError("neither a submission (no title) nor a comment (no body)")


def text_of(raw: str) -> str:
    """Reddit escapes &, < and >, and its editor leaves zero-width spaces as entities of the Markdown."""
    text = html.unescape(raw).replace("&#x200B;", "").replace("&nbsp;", " ")
    return text.replace("\r\n", "\n").strip()
