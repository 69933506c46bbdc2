"""Stack Exchange: one candidate a question, with its best answer (LIMA §2.1).

The best answer is the one with the highest score, as a number; of equals the accepted one, then the oldest. Both
generations of the format are read: a byte order mark or none, any line ends, `<a><b>` or `|a|b|` as tags, a licence a
row or none, rows in any order. A site is read twice: once for what decides, once for the texts of the posts chosen.

The address is the answer's, which leads to the question's page; the question's where there is no answer. Author and
licence are told for question and answer, since either may become part of an example.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lima.records import Candidate, Dropped, Provenance
from lima.sources import posts
from lima.sources.archive import POSTS, USERS, unpacked
from lima.sources.posts import Line, Post, UnreadableRow
from lima.sources.reading import DumpError, Tally, bad_row, digest, files

ARCHIVE = ".7z"
COMMUNITY, ANSWER_BOT = -1, -2  # users that are no people
FABRICATED = frozenset((1000000001, 1000000010))  # ids of the posts in dumps since 2024 that nobody wrote


def read(dumps: Path, *, source: str, licence: str, tally: Tally) -> Iterator[Candidate | Dropped]:
    """Archives (.7z) and Posts.xml files; `licence` stands where a row tells neither its licence nor its day."""
    found: dict[str, Path] = {}
    for path in files(dumps, (ARCHIVE, POSTS.lower())):
        other = found.setdefault(_site(path), path)
        if other != path:
            raise DumpError(f"{other} and {path} are both {_site(path)}; keep one of them")
    for name, path in found.items():
        packed = path.name.lower().endswith(ARCHIVE)
        with unpacked(path) if packed else nullcontext(path.parent) as folder:
            file = folder / (POSTS if packed else path.name)
            site = _Site(name, file, shown=str(path / POSTS) if packed else str(path))
            yield from site.index(tally)
            yield from site.name_authors(folder / USERS)
            yield from site.candidates(source, licence)


def _site(path: Path) -> str:
    """beer.stackexchange.com.7z, stackoverflow.com-Posts.7z, or the folder of a Posts.xml."""
    if path.name.lower().endswith(ARCHIVE):
        return path.name[: -len(ARCHIVE)].removesuffix("-Posts")
    return path.resolve().parent.name


class _Rank(NamedTuple):
    """What decides among a question's answers, and where the answer's row is."""

    score: int
    id: int
    line: int  # its number
    offset: int


@dataclass
class _Site:
    name: str
    file: Path
    shown: str  # the file's name in places
    seen: set[int] = field(default_factory=set)  # ids of posts
    left_out: set[int] = field(default_factory=set)
    questions: dict[int, int] = field(default_factory=dict)  # id → offset of the row
    answers: dict[int, list[_Rank]] = field(default_factory=lambda: defaultdict(list))  # a question
    owners: set[int] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)

    def index(self, tally: Tally) -> Iterator[Dropped]:
        """Note where each post's row lies; yield the rows that are left out."""
        rows = 0
        for rows, line in enumerate(posts.lines(self.file), start=1):
            tally.rows += 1
            try:
                post = posts.post(line.raw)
            except UnreadableRow as error:
                yield bad_row(f"{self.shown}:{line.number}", str(error), line.raw)
                continue
            tally.questions += post.kind == posts.QUESTION
            tally.answers += post.kind == posts.ANSWER
            if fault := self._fault(post):
                yield self._dropped(*fault, line.number)
            else:
                self._note(post, line)
        if not rows:
            raise DumpError(f"{self.shown} holds no posts; fetch the dump again, or take it out of the dumps")
        yield from self._orphans()

    def _fault(self, post: Post) -> tuple[str, str] | None:
        """Reason and detail, where a post is left out."""
        if post.id in self.seen:
            return "duplicate_id", f"post {post.id}"
        self.seen.add(post.id)
        fault = _fault(post)
        if fault:
            self.left_out.add(post.id)
        return fault

    def _dropped(self, reason: str, detail: str, line: int) -> Dropped:
        return Dropped(reason=reason, detail=detail, place=f"{self.shown}:{line}", raw="")

    def _note(self, post: Post, line: Line) -> None:
        if post.kind == posts.QUESTION:
            self.questions[post.id] = line.offset
        elif post.kind == posts.ANSWER and post.parent is not None:
            self.answers[post.parent].append(_Rank(post.score, post.id, line.number, line.offset))
        if post.owner is not None and post.kind in (posts.QUESTION, posts.ANSWER):
            self.owners.add(post.owner)

    def _orphans(self) -> Iterator[Dropped]:
        for question, answers in self.answers.items():
            if question not in self.questions and question not in self.left_out:
                for answer in answers:
                    detail = f"answer {answer.id} to question {question}, which is not in the dump"
                    yield self._dropped("orphan_answer", detail, answer.line)

    def name_authors(self, users: Path) -> Iterator[Dropped]:
        """Learn the display names of the posts' owners, where the dump has a Users.xml."""
        if users.exists():
            for line in posts.lines(users):
                try:
                    number, name = posts.user(line.raw)
                except UnreadableRow as error:
                    place = f"{Path(self.shown).with_name(USERS)}:{line.number}"
                    yield bad_row(place, str(error), line.raw).model_copy(update={"reason": "bad_user"})
                    continue
                if number in self.owners:
                    self.names[number] = name

    def candidates(self, source: str, licence: str) -> Iterator[Candidate]:
        with self.file.open("rb") as file:
            for offset in self.questions.values():
                yield self._candidate(file, offset, source, licence)

    def _candidate(self, file: BinaryIO, offset: int, source: str, licence: str) -> Candidate:
        question, raw = _post_at(file, offset)
        ranks = self.answers.get(question.id, [])
        best = max(ranks, key=lambda rank: (rank.score, rank.id == question.accepted, -rank.id), default=None)
        answer, raw_answer = (None, b"") if best is None else _post_at(file, best.offset)
        host = self.name if "." in self.name else f"{self.name}.stackexchange.com"
        return Candidate(
            id=f"{source}/{self.name}/{question.id}",
            title=question.title,
            description=question.body,
            response=answer.body if answer else "",
            later_turns=(),
            markup="html",
            score=question.score,
            response_score=answer.score if answer else None,
            tags=question.tags,
            provenance=Provenance(
                source=source,
                site=self.name,
                id=str(question.id),
                url=f"https://{host}/a/{answer.id}" if answer else f"https://{host}/q/{question.id}",
                author=_both(self._author(question), self._author(answer) if answer else ""),
                licence=_both(question.licence or licence, (answer.licence or licence) if answer else ""),
                digest=digest(raw + b"\n" + raw_answer if answer else raw),
            ),
        )

    def _author(self, post: Post) -> str:
        if post.owner in self.names:
            return self.names[post.owner]
        return post.owner_name or ("an unnamed user" if post.owner is None else f"user {post.owner}")


def _fault(post: Post) -> tuple[str, str] | None:
    if post.id in FABRICATED and post.owner == COMMUNITY:
        return "fabricated", f"post {post.id} of user {COMMUNITY}"
    if post.kind == posts.ANSWER and post.owner == ANSWER_BOT:
        return "bot_answer", f"answer {post.id} of user {ANSWER_BOT}"
    if post.kind == posts.QUESTION and post.closed:
        return "closed", f"question {post.id}, {post.closed}"
    return None


def _post_at(file: BinaryIO, offset: int) -> tuple[Post, bytes]:
    file.seek(offset)
    raw = file.readline().removeprefix(posts.BOM).strip()
    return posts.post(raw), raw


def _both(question: str, answer: str) -> str:
    return question if answer in ("", question) else f"{question} (question), {answer} (answer)"
