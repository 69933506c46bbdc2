"""What is chosen of a Stack Exchange site, decoded at last, as candidates."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from lima.records import Candidate, Dropped, Provenance
from lima.sources.outcome import Asked, Row
from lima.sources.posts import UnreadableRow
from lima.sources.reading import Early, digest
from lima.sources.table import bad_line
from lima.sources.texts import Texts
from lima.sources.words import Words, words

TOGETHER = 256  # outcomes whose rows are parsed in one go


class Said(NamedTuple):
    """A chosen post."""

    row: Row
    words: Words
    raw: bytes


Read = Said | Dropped


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
            read = zip(likely, words(raws), raws, strict=True)
            found = {row.line: self._told(row, said, raw) for row, said, raw in read}
            for outcome in together:
                if isinstance(outcome, Asked):
                    yield from self._asked(outcome, found, authors)
                else:
                    yield outcome

    def _asked(
        self, asked: Asked, found: Mapping[int, Read], authors: Mapping[int, str]
    ) -> Iterator[Candidate | Dropped]:
        """The candidate; none where too few votes are left."""
        question = found[asked.question.line]
        if isinstance(question, Dropped):
            yield question
            return
        answer: Said | None = None
        voted = self.early is not None and not asked.spared  # stays for its votes
        for row in asked.answers:
            if self.early and voted and row.score < self.early.min_response_score:
                detail = f"question {asked.question.id}: {row.score}, at least {self.early.min_response_score}"
                yield self._dropped("low_response_score", detail, asked.question)
                return
            read = found[row.line] if row.line in found else self._read(row)
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
        [said] = words([raw])
        return self._told(row, said, raw)

    def _told(self, row: Row, said: Words | UnreadableRow, raw: bytes) -> Read:
        if isinstance(said, UnreadableRow):
            return bad_line(self.shown, row.line, str(said), raw)
        return Said(row, said, raw)

    def _dropped(self, reason: str, detail: str, row: Row) -> Dropped:
        return Dropped(reason=reason, detail=detail, place=f"{self.shown}:{row.line}", raw="")

    def _candidate(self, question: Said, answer: Said | None, authors: Mapping[int, str]) -> Candidate:
        host = self.name if "." in self.name else f"{self.name}.stackexchange.com"
        number, asked = question.row.id, question.words
        author, licence = _author(asked, authors), asked.licence or self.licence
        if answer:
            author = _both(author, _author(answer.words, authors))
            licence = _both(licence, answer.words.licence or self.licence)
        return Candidate(
            id=f"{self.source}/{self.name}/{number}",
            title=asked.title,
            description=asked.body,
            response=answer.words.body if answer else "",
            later_turns=(),
            markup="html",
            score=question.row.score,
            response_score=answer.row.score if answer else None,
            tags=asked.tags,
            provenance=Provenance(
                source=self.source,
                site=self.name,
                id=str(number),
                url=f"https://{host}/a/{answer.row.id}" if answer else f"https://{host}/q/{number}",
                author=author,
                licence=licence,
                digest=digest(question.raw + b"\n" + answer.raw if answer else question.raw),
            ),
        )


def _author(said: Words, authors: Mapping[int, str]) -> str:
    if said.owner is None:
        return said.owner_name or "an unnamed user"
    return authors.get(said.owner) or said.owner_name or f"user {said.owner}"


def _both(question: str, answer: str) -> str:
    return question if answer in ("", question) else f"{question} (question), {answer} (answer)"
