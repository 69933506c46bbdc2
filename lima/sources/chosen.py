"""What is chosen of a Stack Exchange site, decoded at last, as candidates."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from lima.records import Candidate, Dropped, Provenance
from lima.sources import posts
from lima.sources.outcome import Asked, Row
from lima.sources.posts import Post, UnreadableRow
from lima.sources.reading import Early, digest
from lima.sources.table import bad_line
from lima.sources.texts import Texts

TOGETHER = 256  # outcomes whose rows are parsed in one go
Read = tuple[Post, bytes] | Dropped


@dataclass(frozen=True)
class Chosen:
    """What all candidates of a site share."""

    source: str
    name: str  # of the site
    licence: str  # where a row tells none
    shown: str  # the table's name in places
    texts: Texts
    early: Early | None

    def records(self, outcomes: Iterable[Asked | Dropped], authors: Mapping[int, str]) -> Iterator[Candidate | Dropped]:
        """A question's candidate comes after the rows on the way to it that cannot be read."""
        waiting = iter(outcomes)
        while together := list(islice(waiting, TOGETHER)):
            likely = [
                row for asked in together if isinstance(asked, Asked) for row in (asked.question, *asked.answers[:1])
            ]
            raws = [self.texts.get(row) for row in likely]
            read = zip(likely, posts.rows(raws), raws, strict=True)
            found = {row: self._told(row, post, raw) for row, post, raw in read}
            for outcome in together:
                if isinstance(outcome, Asked):
                    yield from self._asked(outcome, found, authors)
                else:
                    yield outcome

    def _asked(
        self, asked: Asked, found: Mapping[Row, Read], authors: Mapping[int, str]
    ) -> Iterator[Candidate | Dropped]:
        """The candidate; none where too few votes are left."""
        question = found[asked.question]
        if isinstance(question, Dropped):
            yield question
            return
        answer: tuple[Post, bytes] | None = None
        voted = self.early is not None and not asked.spared  # stays for its votes
        for row in asked.answers:
            if self.early and voted and row.score < self.early.min_response_score:
                detail = f"question {asked.question.id}: {row.score}, at least {self.early.min_response_score}"
                yield self._dropped("low_response_score", detail, asked.question)
                return
            read = found[row] if row in found else self._read(row)
            if not isinstance(read, Dropped):
                answer = read
                break
            yield read
        if voted and not answer:
            yield self._dropped("no_answer", f"question {asked.question.id}", asked.question)
        else:
            yield self._candidate(question, answer, authors)

    def _read(self, row: Row) -> Read:
        raw = self.texts.get(row)
        [post] = posts.rows([raw])
        return self._told(row, post, raw)

    def _told(self, row: Row, post: Post | UnreadableRow, raw: bytes) -> Read:
        return bad_line(self.shown, row.line, str(post), raw) if isinstance(post, UnreadableRow) else (post, raw)

    def _dropped(self, reason: str, detail: str, row: Row) -> Dropped:
        return Dropped(reason=reason, detail=detail, place=f"{self.shown}:{row.line}", raw="")

    def _candidate(
        self, asked: tuple[Post, bytes], answered: tuple[Post, bytes] | None, authors: Mapping[int, str]
    ) -> Candidate:
        question, raw = asked
        answer, raw_answer = answered or (None, b"")
        host = self.name if "." in self.name else f"{self.name}.stackexchange.com"
        author, licence = _author(question, authors), question.licence or self.licence
        if answer:
            author = _both(author, _author(answer, authors))
            licence = _both(licence, answer.licence or self.licence)
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
                author=author,
                licence=licence,
                digest=digest(raw + b"\n" + raw_answer if answer else raw),
            ),
        )


def _author(post: Post, authors: Mapping[int, str]) -> str:
    if post.owner is None:
        return post.owner_name or "an unnamed user"
    return authors.get(post.owner) or post.owner_name or f"user {post.owner}"


def _both(question: str, answer: str) -> str:
    return question if answer in ("", question) else f"{question} (question), {answer} (answer)"
