"""Stack Exchange comment threads: answers that the asker and the answerer discuss in comments (LIMA §2, §6).

Posts.xml and Comments.xml are read twice. The first pass indexes owners and commenters from bytes. The second pass
parses the texts of the few threads with comments by both. Memory holds ids for all posts and texts for these only.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lima.records import Comment, Dropped, Provenance, Thread
from lima.sources.base import DumpError, ReadStats, digest
from lima.sources.stack_exchange import comment_index
from lima.sources.stack_exchange.reader import row_parser, sites, xml_layout
from lima.sources.stack_exchange.reader.archive import ARCHIVE, COMMENTS, POSTS, USERS, unpacked
from lima.sources.stack_exchange.reader.hosts import host
from lima.sources.stack_exchange.reader.row_parser import CommentRow, PostRow, UnreadableRow
from lima.sources.stack_exchange.reader.table import bad_line


def read(dumps: Path, *, source: str, license: str, tally: ReadStats) -> Iterator[Thread | Dropped]:
    """Threads ordered by site and answer id; `tally` counts comments as rows."""
    for name, dump in sites(dumps).items():
        path = dump.posts
        packed = path.name.lower().endswith(ARCHIVE)
        with unpacked(path, (POSTS, USERS, COMMENTS)) if packed else nullcontext(path.parent) as folder:
            if not (folder / COMMENTS).exists():
                raise DumpError(f"{COMMENTS} not found for {path}; download the whole archive")
            file = folder / (POSTS if packed else path.name)
            shown = path / COMMENTS if packed else path.with_name(COMMENTS)
            tables = _Tables(file, folder / COMMENTS, folder / USERS, str(shown))
            yield from tables.threads(source, name, license, tally)


@dataclass(frozen=True)
class _Tables:
    posts: Path
    comments: Path
    users: Path
    shown: str  # name of the comments' file in `place` of dropped rows

    def threads(self, source: str, name: str, license: str, tally: ReadStats) -> Iterator[Thread | Dropped]:
        site = comment_index.build_index(self.posts, self.comments)
        wanted = site.both_spoke()
        remarks: dict[int, list[tuple[CommentRow, bytes]]] = defaultdict(list)
        for line in xml_layout.lines(self.comments):
            tally.rows += 1
            if comment_index.number("PostId", line.raw) in wanted:
                try:
                    comment = row_parser.comment(line.raw)
                except UnreadableRow as error:
                    yield bad_line(self.shown, line.number, str(error), line.raw)
                else:
                    remarks[comment.post].append((comment, line.raw))
        texts = self.texts(wanted | {site.answers[answer].question for answer in wanted})
        people = {comment.user for pairs in remarks.values() for comment, _ in pairs}
        people |= {post.owner for post, _ in texts.values()}
        names = self.names(people - {None})
        for answer in sorted(wanted):
            question = site.answers[answer].question
            if {answer, question} <= texts.keys():
                yield _thread(source, name, license, texts[question], texts[answer], remarks[answer], names)
            else:
                detail = f"answer {answer} or its question is closed or cannot be read"
                yield Dropped(reason="no_post", detail=detail, place=f"{self.shown}: answer {answer}", raw="")

    def texts(self, wanted: set[int]) -> dict[int, tuple[PostRow, bytes]]:
        """Posts by id, without unreadable and closed ones, which `scrape` reports."""
        posts = {}
        for line in xml_layout.lines(self.posts):
            if (number := comment_index.number("Id", line.raw)) is not None and number in wanted:
                try:
                    post = row_parser.post(line.raw)
                except UnreadableRow:
                    continue
                if not post.closed:
                    posts[number] = (post, line.raw)
        return posts

    def names(self, wanted: set[int | None]) -> dict[int, str]:
        """Display names by user id."""
        names = {}
        if self.users.exists():
            for line in xml_layout.lines(self.users):
                if comment_index.number("Id", line.raw) in wanted:
                    try:
                        number, name = row_parser.user(line.raw)
                    except UnreadableRow:
                        continue  # the name stays unknown; `scrape` reports the row
                    names[number] = name
        return names


def _thread(
    source: str,
    site: str,
    license: str,
    question_row: tuple[PostRow, bytes],
    answer_row: tuple[PostRow, bytes],
    remarks: list[tuple[CommentRow, bytes]],
    names: Mapping[int, str],
) -> Thread:
    (question, question_raw), (answer, answer_raw) = question_row, answer_row
    ordered = sorted(remarks, key=lambda pair: (pair[0].created, pair[0].id))
    own = [(comment, raw) for comment, raw in ordered if comment.user in (question.owner, answer.owner)]
    licenses = [question.license, answer.license, *(comment.license for comment, _ in own)]
    asker, answerer = (_name(post.owner, post.owner_name, names) for post in (question, answer))
    return Thread(
        title=question.title,
        question=question.body,
        answer=answer.body,
        score=answer.score,
        asker=asker,
        answerer=answerer,
        remarks=tuple(
            Comment(
                speaker=_speaker(comment, question, answer),
                name=_name(comment.user, comment.user_name, names),
                text=comment.text,
                score=comment.score,
            )
            for comment, _ in ordered
        ),
        tags=question.tags,
        provenance=Provenance(
            source=source,
            site=site,
            id=str(answer.id),
            url=f"https://{host(site)}/a/{answer.id}",
            author=f"{asker} (question, comments), {answerer} (answer, comments)",
            license=", ".join(dict.fromkeys(own_license or license for own_license in licenses)),
            digest=digest(b"\n".join([question_raw, answer_raw, *(raw for _, raw in own)])),
        ),
    )


def _speaker(comment: CommentRow, question: PostRow, answer: PostRow) -> Literal["asker", "answerer", "other"]:
    if comment.user is None:
        return "other"
    return "asker" if comment.user == question.owner else "answerer" if comment.user == answer.owner else "other"


def _name(user: int | None, row_name: str, names: Mapping[int, str]) -> str:
    if user is None:
        return row_name or "an unnamed user"
    return names.get(user) or row_name or f"user {user}"
