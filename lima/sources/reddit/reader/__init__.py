"""Submissions of Reddit, each with its best reply, from dumps of a month or of a subreddit (LIMA §2.1).

A file holds one JSON object a line, plain or compressed with zstd. It is read once, as fast as it is decompressed: a
line of another subreddit is not parsed, and one record per file counts all of them. So
rows = submissions + comments + bad rows + rows of other subreddits, and submissions = candidates + dropped ones.
An invalid line is a bad row if it is truncated at either end or names a wanted subreddit.

The response is the top-level comment with the highest score that is not hidden, removed, a moderator's or a bot's. Of a
post that comes again its latest version counts. Comments on submissions that are in no file are counted and left.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lima.records import Candidate, Dropped
from lima.sources import lines
from lima.sources.base import Prefilter, ReadStats, Shard, Subreddits, bad_row, digest, files
from lima.sources.json_rows import RowError
from lima.sources.lines import Lines, OverlongLine
from lima.sources.reddit.reader import rows
from lima.sources.reddit.reader.rows import RedditComment, RedditSubmission
from lima.sources.reddit.reader.store import Store

SUFFIXES = (".zst", ".ndjson", ".jsonl")
NO_ROW = "no row of the subreddits {}; correct filter.reddit in params.yaml, or put their dumps there"


def read(
    dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    with closing(Store()) as store:
        reading = _Reading(store, source, license, tally, early.subreddits if early else None)
        for path in files(dumps, SUFFIXES):
            yield from reading.file(path)
        if early and early.subreddits and (absent := absent_subreddits(early.subreddits.names(), tally)):
            logging.getLogger(__name__).warning("%s: %s", dumps, NO_ROW.format(", ".join(absent)))
        yield from store.outcomes()


def absent_subreddits(names: Iterable[str], tally: ReadStats) -> list[str]:
    """The names, in any case, of which no row was read."""
    return sorted(name for name in names if name.casefold() not in tally.subreddits)


def pieces(dumps: Path) -> list[Shard]:
    """All files together: a comment may answer a submission of any other file."""
    return [Shard(dumps, tuple(files(dumps, SUFFIXES)))]


@dataclass(frozen=True)
class _Reading:
    """What all files of a dump share."""

    store: Store
    source: str
    license: str
    tally: ReadStats
    wanted: Subreddits | None
    room: NDArray[np.uint8] = field(default_factory=lambda: np.empty(lines.BLOCK, np.uint8))

    def file(self, path: Path) -> Iterator[Dropped]:
        others = 0
        for part in lines.read(path):
            if isinstance(part, OverlongLine):
                self.tally.rows += 1
                words = f"a line of {part.length:,} bytes, at most {lines.MAX_LINE:,}; its head is shown"
                yield bad_row(f"{path}:{part.number}", words, part.head)
                continue
            self.tally.rows += len(part.stops)
            others += len(part.stops)
            for number, line in self._lines(part):
                place = f"{path}:{number}"
                try:
                    post = self._post(line)
                except RowError as error:
                    others -= 1
                    yield bad_row(place, str(error), line)
                    continue
                if post:
                    others -= 1
                    yield from self._keep(post, place, line)
        if self.wanted and others:
            words = f"lines that are of none of {', '.join(sorted(self.wanted.names()))}"
            yield Dropped(reason="other_subreddit", detail=words, place=str(path), raw="", rows=others)

    def _lines(self, part: Lines) -> Iterator[tuple[int, bytes]]:
        """Those that may be of a wanted subreddit, since they hold its name between quotation marks, and torn ones."""
        if self.wanted is None:
            return lines.each(part)
        return lines.having(part, [f'"{name}"'.encode() for name in self.wanted.names()], self.room)

    def _post(self, line: bytes) -> RedditSubmission | RedditComment | None:
        """None if it is of another subreddit. Raises RowError"""
        value = rows.fields(line)
        name = value.get("subreddit")
        if self.wanted and (name := self.wanted.spelling(name)) is None:
            return None
        post = rows.post(value | {"subreddit": name} if self.wanted else value)
        self.tally.subreddits.add(post.subreddit.casefold())
        return post

    def _keep(self, post: RedditSubmission | RedditComment, place: str, line: bytes) -> Iterator[Dropped]:
        if isinstance(post, RedditComment):
            self.tally.answers += 1
            if post.is_top_level() and (self.wanted is None or post.subreddit in self.wanted.answered):
                self.store.add_reply(post)
            return
        self.tally.questions += 1
        outcome: Candidate | Dropped
        if refused := post.refusal():
            outcome = Dropped(reason=refused[0], detail=refused[1], place=place, raw="")
        else:
            outcome = post.candidate(source=self.source, license=self.license, digest=digest(line))
        if older := self.store.add_submission(post.id, post.version(), place, outcome):
            yield Dropped(reason="duplicate", detail=f"{post.id} has a later version", place=older, raw="")
