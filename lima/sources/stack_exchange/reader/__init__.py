"""Stack Exchange reader: one candidate per question, with its best answer (LIMA §2.1).

Reads both generations of the format: with or without byte order mark, any line ends, tags as `<a><b>` or `|a|b|`, with
or without a license per row, rows in any order. The layout and numbers of every row are checked; only selected posts
are decoded. If the best answer then is unreadable, it is reported as a bad row and the next answer is used.

A candidate's URL is the answer's, or the question's if there is no answer. Author and license name both question and
answer, because either can become part of an example.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lima.records import Candidate, Dropped, Provenance
from lima.sources.base import UNNAMED, DumpError, Prefilter, ReadStats, Shard, digest, files
from lima.sources.stack_exchange.reader import archive, rows
from lima.sources.stack_exchange.reader.archive import ARCHIVE, COMMENTS, POSTS, USERS, Table
from lima.sources.stack_exchange.reader.hosts import host
from lima.sources.stack_exchange.reader.join import Group, Post, SiteDatabase, site_database
from lima.sources.stack_exchange.reader.rows import BadRow, PostTexts, UnreadableRow

# large sites are published as one archive per table
SPLIT = re.compile(r"(?P<site>.+)-(?P<table>Badges|Comments|PostHistory|PostLinks|Posts|Tags|Users|Votes)\.7z", re.I)
NAMES = 1 << 16  # display names in memory
# detail of each reason; "post {id}" for all others
DETAILS = {
    "fabricated": f"post {{id}} of user {rows.COMMUNITY}",
    "bot_answer": f"answer {{id}} of user {rows.ANSWER_BOT}",
    "bot_question": f"question {{id}} of user {rows.ANSWER_BOT}",
    "closed": "question {id}",
    "orphan_answer": "answer {id} to question {parent}, which is not in the dump",
    "no_answer": "question {id}",
    "low_response_score": "question {id}: {best}, at least {least}",
}


def read(
    dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    """Read archives (.7z) and Posts.xml files. `license` applies to rows without a license and a creation date."""
    for name, site_files in sites(dumps).items():
        with archive.tables(site_files, (POSTS, USERS)) as tables, site_database() as database:
            yield from _load(tables[POSTS], database, tally)
            database.join(early, prefix=f"{source}/{name}/")
            users = Users(tables.get(USERS), database)
            yield from users.load()
            yield from _Selection(source, name, license, tables[POSTS], database, users, early).records()


def pieces(dumps: Path) -> list[Shard]:
    """One shard per site."""
    return [
        Shard(site_files[POSTS], (site_files[USERS],) if USERS in site_files else ())
        for site_files in sites(dumps).values()
    ]


def sites(dumps: Path) -> dict[str, dict[str, Path]]:
    """Files of each site by table, from paths such as SITE.7z, SITE/Posts.xml, or SITE-Posts.7z (one table each).

    Of SITE.7z, only the posts are listed.
    """
    files_by_site: dict[str, dict[str, Path]] = {}
    for path in files(dumps, (ARCHIVE, POSTS.lower())):
        split = SPLIT.fullmatch(path.name)
        if split and split["table"].lower() != "posts":
            continue
        packed = path.name.lower().endswith(ARCHIVE)
        name = (split["site"] if split else path.name[: -len(ARCHIVE)]) if packed else path.resolve().parent.name
        site_files = {POSTS: path}
        for table in (USERS, COMMENTS):
            other = path.with_name(f"{name}-{table}".replace(".xml", ARCHIVE) if packed else table)
            if other.exists() and (split or not packed):
                site_files[table] = other
        first = files_by_site.setdefault(name, site_files)
        if first != site_files:
            raise DumpError(f"two dumps of site {name}: {first[POSTS]} and {path}; keep one of them")
    if not files_by_site:
        raise DumpError(f"no archive in {dumps} contains posts; add SITE-Posts{ARCHIVE} or SITE{ARCHIVE}")
    return files_by_site


def _load(posts: Table, database: SiteDatabase, tally: ReadStats) -> Iterator[Dropped]:
    """Load all posts; yields the unreadable rows."""
    bad = 0
    for dropped in database.load(posts, rows.POSTS):
        bad += 1
        yield dropped
    count, questions, answers = database.counts()
    if not count + bad:
        raise DumpError(f"no posts in {posts.shown}; download the dump again or remove it from the dumps")
    tally.rows += count + bad
    tally.questions += questions
    tally.answers += answers


class Users:
    """Display names of users, read when they are needed."""

    def __init__(self, table: Table | None, database: SiteDatabase) -> None:
        self._table = table
        self._database = database
        self._names: dict[int, str] = {}
        self._unreadable: list[Dropped] = []

    def load(self) -> Iterator[Dropped]:
        """Load Users.xml; yields the unreadable rows."""
        if self._table:
            for bad in self._database.load(self._table, rows.USERS):
                yield _bad_user(bad)

    def name(self, number: int) -> str:
        """The name of a user; "" if it is unknown."""
        if (name := self._names.get(number)) is None:
            if len(self._names) == NAMES:
                self._names.clear()
            name = self._names[number] = self._read(number)
        return name

    def unreadable(self) -> list[Dropped]:
        """The rows whose name turned out to be unreadable since the last call."""
        dropped, self._unreadable = self._unreadable, []
        return dropped

    def _read(self, number: int) -> str:
        position = self._database.user(number)
        if not position or not self._table:
            return ""
        raw = self._table.read(position.at, position.size)
        try:
            return rows.display_name(raw)
        except UnreadableRow as error:
            self._unreadable.append(_bad_user(rows.bad_line(self._table.shown, BadRow(position.line, str(error), raw))))
            return ""


def _bad_user(bad: Dropped) -> Dropped:
    return bad.model_copy(update={"reason": "bad_user"})


@dataclass(frozen=True)
class _Selection:
    """Decodes the posts that the join selected."""

    source: str
    name: str  # of the site
    license: str  # for rows without one
    posts: Table
    database: SiteDatabase
    users: Users
    early: Prefilter | None

    def records(self) -> Iterator[Candidate | Dropped]:
        """Candidates and dropped posts: first those dropped by the prefilter, grouped by reason."""
        for group in self.database.groups():
            more = f"; so {group.rows - 1} more up to line {group.last_line}" if group.rows > 1 else ""
            yield self._dropped(group.reason, group, more=more, rows=group.rows, best=group.best)
        for post, best in self.database.outcomes():
            if post.reason:
                yield self._dropped(post.reason, post, parent=post.parent)
            else:
                yield from self._decode(post, best)

    def _decode(self, question: Post, best: Post | None) -> Iterator[Candidate | Dropped]:
        """The candidate with the best readable answer, after unreadable rows; Dropped if too few voted for it."""
        least = self.early.min_response_score if self.early else None
        voted = least is not None and best is not None and best.score >= least  # not by the reservoir
        try:
            texts = self._texts(question)
        except UnreadableRow as error:
            yield self._bad_row(question, error)
            return
        for answer in chain([best], self.database.other_answers(question)) if best else ():
            if voted and least is not None and answer.score < least:
                yield self._dropped("low_response_score", question, best=answer.score)
                return
            try:
                candidate = self._candidate(question, texts, answer, self._texts(answer))
            except UnreadableRow as error:
                yield self._bad_row(answer, error)
                continue
            break
        else:
            if voted:
                yield self._dropped("no_answer", question)
                return
            candidate = self._candidate(question, texts)
        yield from self.users.unreadable()
        yield candidate

    def _candidate(
        self, question: Post, texts: PostTexts, answer: Post | None = None, answer_texts: PostTexts | None = None
    ) -> Candidate:
        address = f"https://{host(self.name)}"
        author, license = self._author(texts), texts.license or self.license
        raw = texts.raw
        if answer_texts:
            author = _both(author, self._author(answer_texts))
            license = _both(license, answer_texts.license or self.license)
            raw += b"\n" + answer_texts.raw
        return Candidate(
            id=f"{self.source}/{self.name}/{question.id}",
            title=texts.title,
            description=texts.body,
            response=answer_texts.body if answer_texts else "",
            later_turns=(),
            markup="html",
            score=question.score,
            response_score=answer.score if answer else None,
            tags=texts.tags,
            provenance=Provenance(
                source=self.source,
                site=self.name,
                id=str(question.id),
                url=f"{address}/a/{answer.id}" if answer else f"{address}/q/{question.id}",
                author=author,
                license=license,
                digest=digest(raw),
            ),
        )

    def _texts(self, post: Post) -> PostTexts:
        return rows.post_texts(self.posts.read(post.at, post.size))

    def _author(self, texts: PostTexts) -> str:
        return user_name(texts.owner, texts.owner_name, self.users)

    def _bad_row(self, post: Post, error: UnreadableRow) -> Dropped:
        bad = BadRow(post.line, str(error), self.posts.read(post.at, post.size))
        return rows.bad_line(self.posts.shown, bad)

    def _dropped(self, reason: str, post: Post | Group, *, more: str = "", rows: int = 1, **values: object) -> Dropped:
        least = self.early.min_response_score if self.early else None
        detail = DETAILS.get(reason, "post {id}").format(id=post.id, least=least, **values)
        return Dropped(reason=reason, detail=detail + more, place=f"{self.posts.shown}:{post.line}", raw="", rows=rows)


def user_name(number: int | None, row_name: str, users: Users) -> str:
    """The name of a row's user: from Users.xml, else from the row."""
    if number is None:
        return row_name or UNNAMED
    return users.name(number) or row_name or f"user {number}"


def _both(question: str, answer: str) -> str:
    return question if answer in ("", question) else f"{question} (question), {answer} (answer)"
