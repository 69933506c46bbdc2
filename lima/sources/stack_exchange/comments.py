"""Stack Exchange: answers below which the asker and the answerer went on talking in comments (LIMA §2, §6).

Posts.xml and Comments.xml are each read twice: first by bytes, for who owns what and who spoke where, then for the
texts of the few threads in which both spoke. Numbers alone are held of all others.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lima.records import Comment, Dropped, Provenance, Thread
from lima.sources.base import DumpError, ReadStats, digest
from lima.sources.stack_exchange import comment_index, row_parser, xml_layout
from lima.sources.stack_exchange.archive import ARCHIVE, COMMENTS, POSTS, USERS, unpacked
from lima.sources.stack_exchange.hosts import host
from lima.sources.stack_exchange.reader import sites
from lima.sources.stack_exchange.row_parser import CommentRow, PostRow, UnreadableRow
from lima.sources.stack_exchange.table import bad_line


def read(dumps: Path, *, source: str, licence: str, tally: ReadStats) -> Iterator[Thread | Dropped]:
    """Threads by site and answer; `tally` counts comments as rows."""
    for name, dump in sites(dumps).items():
        path = dump.posts
        packed = path.name.lower().endswith(ARCHIVE)
        with unpacked(path, (POSTS, USERS, COMMENTS)) if packed else nullcontext(path.parent) as folder:
            if not (folder / COMMENTS).exists():
                raise DumpError(f"{path} has no {COMMENTS} beside its posts, so no comments; fetch the whole archive")
            file = folder / (POSTS if packed else path.name)
            shown = path / COMMENTS if packed else path.with_name(COMMENTS)
            tables = _Tables(file, folder / COMMENTS, folder / USERS, str(shown))
            yield from tables.threads(source, name, licence, tally)


@dataclass(frozen=True)
class _Tables:
    posts: Path
    comments: Path
    users: Path
    shown: str  # the comments' file in places

    def threads(self, source: str, name: str, licence: str, tally: ReadStats) -> Iterator[Thread | Dropped]:
        site = comment_index.survey(self.posts, self.comments)
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
        people = {comment.user for of in remarks.values() for comment, _ in of}
        people |= {post.owner for post, _ in texts.values()}
        names = self.names(people - {None})
        for answer in sorted(wanted):
            question = site.answers[answer].question
            if {answer, question} <= texts.keys():
                yield _thread(source, name, licence, texts[question], texts[answer], remarks[answer], names)
            else:
                detail = f"answer {answer} or its question is closed or cannot be read"
                yield Dropped(reason="no_post", detail=detail, place=f"{self.shown}: answer {answer}", raw="")

    def texts(self, wanted: set[int]) -> dict[int, tuple[PostRow, bytes]]:
        """The posts, without those that cannot be read or are closed: scrape tells of them."""
        found = {}
        for line in xml_layout.lines(self.posts):
            if (number := comment_index.number("Id", line.raw)) is not None and number in wanted:
                try:
                    post = row_parser.post(line.raw)
                except UnreadableRow:
                    continue
                if not post.closed:
                    found[number] = (post, line.raw)
        return found

    def names(self, wanted: set[int | None]) -> dict[int, str]:
        found = {}
        if self.users.exists():
            for line in xml_layout.lines(self.users):
                if comment_index.number("Id", line.raw) in wanted:
                    try:
                        number, name = row_parser.user(line.raw)
                    except UnreadableRow:
                        continue  # the name is unknown then, and told so; scrape tells of the row
                    found[number] = name
        return found


def _thread(
    source: str,
    site: str,
    licence: str,
    asked: tuple[PostRow, bytes],
    answered: tuple[PostRow, bytes],
    remarks: list[tuple[CommentRow, bytes]],
    names: Mapping[int, str],
) -> Thread:
    question, answer = asked[0], answered[0]
    ordered = sorted(remarks, key=lambda pair: (pair[0].created, pair[0].id))
    own = [(comment, raw) for comment, raw in ordered if comment.user in (question.owner, answer.owner)]
    licences = [question.licence, answer.licence, *(comment.licence for comment, _ in own)]
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
            licence=", ".join(dict.fromkeys(told or licence for told in licences)),
            digest=digest(b"\n".join([asked[1], answered[1], *(raw for _, raw in own)])),
        ),
    )


def _speaker(comment: CommentRow, question: PostRow, answer: PostRow) -> Literal["asker", "answerer", "other"]:
    if comment.user is None:
        return "other"
    return "asker" if comment.user == question.owner else "answerer" if comment.user == answer.owner else "other"


def _name(user: int | None, told: str, names: Mapping[int, str]) -> str:
    if user is None:
        return told or "an unnamed user"
    return names.get(user) or told or f"user {user}"
