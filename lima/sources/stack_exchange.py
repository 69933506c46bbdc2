"""Stack Exchange: one candidate a question, with its best answer (LIMA §2.1).

Both generations of the format are read: a byte order mark or none, any line ends, `<a><b>` or `|a|b|` as tags, a
licence a row or none, rows in any order. A site is read twice: once for what decides, once for the texts of the posts
chosen.

The address is the answer's, which leads to the question's page; the question's where there is no answer. Author and
licence are told for question and answer, since either may become part of an example.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lima.records import Candidate, Dropped, Provenance
from lima.sources import posts
from lima.sources.archive import POSTS, USERS, unpacked
from lima.sources.posts import Post, UnreadableRow
from lima.sources.reading import DumpError, Early, Piece, Tally, bad_row, digest, files
from lima.sources.site import Index

ARCHIVE = ".7z"


def read(
    dumps: Path, *, source: str, licence: str, tally: Tally, early: Early | None = None
) -> Iterator[Candidate | Dropped]:
    """Archives (.7z) and Posts.xml files; `licence` stands where a row tells neither its licence nor its day."""
    for name, path in sites(dumps).items():
        packed = path.name.lower().endswith(ARCHIVE)
        with unpacked(path) if packed else nullcontext(path.parent) as folder:
            index = Index(folder / (POSTS if packed else path.name), shown=str(path / POSTS) if packed else str(path))
            yield from index.fill(tally)
            if early:
                yield from index.leave_out(early, prefix=f"{source}/{name}/")
            names: dict[int, str] = {}
            yield from _learn_names(folder / USERS, index, names)
            site = _Site(source, name, licence, names)
            with index.file.open("rb") as file:
                for number, asked in index.questions.items():
                    question, raw = _post_at(file, asked.offset)
                    best = index.best(number)
                    answer, raw_answer = (None, b"") if best is None else _post_at(file, best.offset)
                    yield site.candidate(question, answer, digest(raw + b"\n" + raw_answer if best else raw))


def pieces(dumps: Path) -> list[Piece]:
    """Each site by itself."""
    found = []
    for path in sites(dumps).values():
        users = path.with_name(USERS)
        packed = path.name.lower().endswith(ARCHIVE)
        found.append(Piece(path, (users,) if not packed and users.exists() else ()))
    return found


def sites(dumps: Path) -> dict[str, Path]:
    """Each site's file, by its name: beer.stackexchange.com.7z, stackoverflow.com-Posts.7z, a Posts.xml's folder."""
    found: dict[str, Path] = {}
    for path in files(dumps, (ARCHIVE, POSTS.lower())):
        packed = path.name.lower().endswith(ARCHIVE)
        name = path.name[: -len(ARCHIVE)].removesuffix("-Posts") if packed else path.resolve().parent.name
        other = found.setdefault(name, path)
        if other != path:
            raise DumpError(f"{other} and {path} are both {name}; keep one of them")
    return found


def _learn_names(users: Path, index: Index, names: dict[int, str]) -> Iterator[Dropped]:
    """Fill `names` with the posts' owners, where the dump has a Users.xml; yield its rows that cannot be read."""
    if users.exists():
        for line in posts.lines(users):
            try:
                number, name = posts.user(line.raw)
            except UnreadableRow as error:
                place = f"{Path(index.shown).with_name(USERS)}:{line.number}"
                yield bad_row(place, str(error), line.raw).model_copy(update={"reason": "bad_user"})
                continue
            if number in index.owners:
                names[number] = name


def _post_at(file: BinaryIO, offset: int) -> tuple[Post, bytes]:
    file.seek(offset)
    raw = file.readline().removeprefix(posts.BOM).strip()
    return posts.post(raw), raw


@dataclass(frozen=True)
class _Site:
    """What all candidates of a site share."""

    source: str
    name: str
    licence: str
    authors: Mapping[int, str]

    def candidate(self, question: Post, answer: Post | None, digest_: str) -> Candidate:
        host = self.name if "." in self.name else f"{self.name}.stackexchange.com"
        return Candidate(
            id=f"{self.source}/{self.name}/{question.id}",
            title=question.title,
            description=question.body,
            response=answer.body if answer else "",
            later_turns=(),
            markup="html",
            score=question.score,
            response_score=answer.score if answer else None,
            tags=question.tags,
            provenance=Provenance(
                source=self.source,
                site=self.name,
                id=str(question.id),
                url=f"https://{host}/a/{answer.id}" if answer else f"https://{host}/q/{question.id}",
                author=_both(self._author(question), self._author(answer) if answer else ""),
                licence=_both(question.licence or self.licence, (answer.licence or self.licence) if answer else ""),
                digest=digest_,
            ),
        )

    def _author(self, post: Post) -> str:
        if post.owner is None:
            return post.owner_name or "an unnamed user"
        return self.authors.get(post.owner) or post.owner_name or f"user {post.owner}"


def _both(question: str, answer: str) -> str:
    return question if answer in ("", question) else f"{question} (question), {answer} (answer)"
