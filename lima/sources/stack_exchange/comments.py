"""Stack Exchange comment threads: answers that the asker and the answerer discuss in comments (LIMA §2, §6).

Threads are selected in SQL, by the numbers of posts and comments. Only the texts of selected threads are parsed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lima.records import Comment, Dropped, Provenance, Thread
from lima.sources.base import DumpError, ReadStats, digest
from lima.sources.stack_exchange.reader import Users, archive, rows, sites, user_name
from lima.sources.stack_exchange.reader.archive import COMMENTS, POSTS, USERS, Table
from lima.sources.stack_exchange.reader.hosts import host
from lima.sources.stack_exchange.reader.join import (
    Discussion,
    Position,
    SiteDatabase,
    site_database,
)
from lima.sources.stack_exchange.reader.rows import BadRow, CommentRow, PostTexts, UnreadableRow


def read(dumps: Path, *, source: str, license: str, tally: ReadStats) -> Iterator[Thread | Dropped]:
    """Threads ordered by site and answer id; `tally` counts comments as rows."""
    for name, files in sites(dumps).items():
        with archive.tables(files, (POSTS, USERS, COMMENTS)) as tables, site_database() as database:
            if COMMENTS not in tables:
                raise DumpError(f"{COMMENTS} not found for {files[POSTS]}; download the whole archive")
            for _ in database.load(tables[POSTS], rows.POSTS):
                pass  # `scrape` reports unreadable posts and users
            users = Users(tables.get(USERS), database)
            for _ in users.load():
                pass
            for bad in database.load(tables[COMMENTS], rows.COMMENTS):
                tally.rows += 1
                yield bad
            tally.rows += database.comment_count()
            site = _Site(source, name, license, tables[POSTS], tables[COMMENTS], users, database)
            yield from site.threads()


@dataclass(frozen=True)
class _Site:
    source: str
    name: str
    license: str  # for rows without one
    posts: Table
    comments: Table
    users: Users
    database: SiteDatabase

    def threads(self) -> Iterator[Thread | Dropped]:
        for discussion in self.database.discussions():
            readable = []
            for position in self.database.comments(discussion.id):
                raw = self.comments.read(position.at, position.size)
                try:
                    readable.append(rows.comment_texts(raw))
                except UnreadableRow as error:
                    yield rows.bad_line(self.comments.shown, BadRow(position.line, str(error), raw))
            question, answer = self._open_post(discussion.question), self._open_post(discussion.answer)
            if question and answer:
                ordered = sorted(readable, key=lambda row: (row.created, row.id))
                yield self._thread(discussion, question, answer, ordered)
            else:
                number = discussion.id
                detail = f"answer {number} or its question is closed or cannot be read"
                yield Dropped(reason="no_post", detail=detail, place=f"{self.comments.shown}: answer {number}", raw="")

    def _open_post(self, position: Position) -> PostTexts | None:
        """The texts of a post; None if it is closed or unreadable, which `scrape` reports."""
        try:
            texts = rows.post_texts(self.posts.read(position.at, position.size))
        except UnreadableRow:
            return None
        return None if texts.closed else texts

    def _thread(
        self, discussion: Discussion, question: PostTexts, answer: PostTexts, comments: Sequence[CommentRow]
    ) -> Thread:
        own = [comment for comment in comments if comment.user in (question.owner, answer.owner)]
        licenses = [question.license, answer.license, *(comment.license for comment in own)]
        asker, answerer = (user_name(post.owner, post.owner_name, self.users) for post in (question, answer))
        return Thread(
            title=question.title,
            question=question.body,
            answer=answer.body,
            score=discussion.score,
            asker=asker,
            answerer=answerer,
            remarks=tuple(
                Comment(
                    speaker=_speaker(comment, question, answer),
                    name=user_name(comment.user, comment.user_name, self.users),
                    text=comment.text,
                    score=comment.score,
                )
                for comment in comments
            ),
            tags=question.tags,
            provenance=Provenance(
                source=self.source,
                site=self.name,
                id=str(discussion.id),
                url=f"https://{host(self.name)}/a/{discussion.id}",
                author=f"{asker} (question, comments), {answerer} (answer, comments)",
                license=", ".join(dict.fromkeys(own_license or self.license for own_license in licenses)),
                digest=digest(b"\n".join([question.raw, answer.raw, *(comment.raw for comment in own)])),
            ),
        )


def _speaker(comment: CommentRow, question: PostTexts, answer: PostTexts) -> Literal["asker", "answerer", "other"]:
    if comment.user is None:
        return "other"
    return "asker" if comment.user == question.owner else "answerer" if comment.user == answer.owner else "other"
