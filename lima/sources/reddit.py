"""Submissions of Reddit, each with its best reply, from the dumps of Pushshift or the API's own form (LIMA §2.1).

A file holds one JSON object a line, plain or compressed with zstd; what has a title is a submission, what has a body a
comment, whatever the file is called. The response is the top-level comment with the highest score that is not a
moderator's, a bot's or removed; the best one, coming again, takes the place of its older version. Comments on
submissions that are in no file are counted and left. The files are read twice, comments first, so that all that is held
in memory is one reply a submission, and the ids of submissions.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lima.records import Candidate, Dropped, Provenance
from lima.sources import json_rows, zst
from lima.sources.json_rows import Row, RowError
from lima.sources.reading import Early, Piece, Tally, bad_row, digest, files

SUFFIXES = (".zst", ".ndjson", ".jsonl")
REMOVED = {"[removed]", "[deleted]", "[deleted by user]"}  # what stands in place of a text
BOTS = {"AutoModerator"}
TEAM = "-ModTeam"  # ends the name of a subreddit's shared moderator account

Score = Annotated[int, Field(strict=False)]  # some conversions write 12.0


class Post(Row):
    """What submissions and comments have in common."""

    id: str = Field(min_length=1)
    author: str | None = None
    subreddit: str = Field(min_length=1)
    score: Score | None = None
    stickied: bool | None = None
    distinguished: str | None = None  # "moderator" or "admin", who then speaks as such


class Submission(Post):
    title: str = Field(min_length=1)
    selftext: str | None = None
    permalink: str | None = None
    link_flair_text: str | None = None
    over_18: bool | None = None
    crosspost_parent: str | None = None
    removed_by_category: str | None = None


class Comment(Post):
    body: str
    link_id: str  # t3_ and the submission's id
    parent_id: str | int | None = None  # the same for a top-level comment


@dataclass
class Replies:
    """The best reply seen so far to each submission, by t3_ID."""

    best: dict[str, Comment] = field(default_factory=dict)

    def add(self, comment: Comment) -> None:
        known = self.best.get(comment.link_id)
        if known and known.id == comment.id:
            del self.best[comment.link_id]
            known = None
        if comment.parent_id != comment.link_id or comment.score is None or not _is_a_reply(comment):
            return
        if known is None or comment.score > (known.score or 0):
            self.best[comment.link_id] = comment


def read(
    dumps: Path, *, source: str, licence: str, tally: Tally, early: Early | None = None
) -> Iterator[Candidate | Dropped]:
    paths, replies = files(dumps, SUFFIXES), Replies()
    with_submissions = []
    for path in paths:
        submissions = tally.questions
        for place, line in _lines(path):
            tally.rows += 1
            try:
                post = _post(line)
            except RowError as error:
                yield bad_row(place, str(error), line)
                continue
            if isinstance(post, Comment):
                tally.answers += 1
                replies.add(post)
            else:
                tally.questions += 1
        if tally.questions > submissions:
            with_submissions.append(path)
    yield from _submissions(with_submissions, replies, source=source, licence=licence)


def pieces(dumps: Path) -> list[Piece]:
    """All files together: a comment may answer a submission of any other file."""
    return [Piece(dumps, tuple(files(dumps, SUFFIXES)))]


def _submissions(paths: list[Path], replies: Replies, *, source: str, licence: str) -> Iterator[Candidate | Dropped]:
    seen: set[str] = set()
    for path in paths:
        for place, line in _lines(path):
            try:
                post = _post(line)
            except RowError:  # the first reading has told it
                continue
            if isinstance(post, Comment):
                continue
            refused = ("duplicate", f"{post.id} came before") if post.id in seen else _refusal(post)
            seen.add(post.id)
            if refused:
                yield Dropped(reason=refused[0], detail=refused[1], place=place, raw="")
                continue
            reply = replies.best.pop(f"t3_{post.id}", None)
            yield _candidate(post, reply, source=source, licence=licence, digest_=digest(line))


def _post(line: bytes) -> Submission | Comment:
    value = json_rows.loads(line)
    if isinstance(value, dict) and "kind" in value and isinstance(value.get("data"), dict):
        value = value["data"]  # the API's own form
    if not isinstance(value, dict):
        raise RowError(f"no object, but {type(value).__name__}")
    if "title" in value:
        return json_rows.check(value, Submission)
    if "body" in value:
        return json_rows.check(value, Comment)
    raise RowError("neither a submission (no title) nor a comment (no body)")


def _refusal(post: Submission) -> tuple[str, str] | None:
    """Why a submission is no candidate, and what tells it."""
    text = (post.selftext or "").strip()
    if text in REMOVED or post.title in REMOVED:
        return "removed", f"the text is {text if text in REMOVED else post.title}"
    if post.removed_by_category:
        return "removed", f"removed_by_category is {post.removed_by_category}"
    if post.over_18:
        return "nsfw", "over_18 is true"
    if post.crosspost_parent:
        return "crosspost", f"of {post.crosspost_parent}"
    if post.stickied or post.distinguished:
        return "moderator", f"distinguished is {post.distinguished}" if post.distinguished else "stickied is true"
    return None


def _is_a_reply(comment: Comment) -> bool:
    author = comment.author or ""
    by_machine = author in BOTS or author.endswith(TEAM)
    text = comment.body.strip()
    return bool(text) and text not in REMOVED and not (by_machine or comment.stickied or comment.distinguished)


def _candidate(post: Submission, reply: Comment | None, *, source: str, licence: str, digest_: str) -> Candidate:
    path = post.permalink or f"/r/{post.subreddit}/comments/{post.id}/"
    authors = [post.author] + ([reply.author] if reply else [])
    return Candidate(
        id=f"{source}/{post.subreddit}/{post.id}",
        title=_text(post.title),
        description=_text(post.selftext or ""),
        response=_text(reply.body) if reply else "",
        later_turns=(),
        markup="markdown",
        score=post.score,
        response_score=reply.score if reply else None,
        tags=(post.link_flair_text,) if post.link_flair_text else (),
        provenance=Provenance(
            source=source,
            site=post.subreddit,
            id=post.id,
            url=f"https://www.reddit.com{path}",
            author="; ".join(dict.fromkeys(name for name in authors if name)),
            licence=licence,
            digest=digest_,
        ),
    )


def _text(raw: str) -> str:
    """Reddit escapes &, < and >, and its editor leaves zero-width spaces as entities of the Markdown."""
    text = html.unescape(raw).replace("&#x200B;", "").replace("&nbsp;", " ")
    return text.replace("\r\n", "\n").strip()


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    return zst.lines(path) if path.suffix.lower() == ".zst" else json_rows.lines(path)
