"""What is chosen of a Stack Exchange site, decoded at last, as candidates."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lima.records import Candidate, Dropped, Provenance
from lima.sources.base import Prefilter, digest
from lima.sources.stack_exchange import row_parser
from lima.sources.stack_exchange.hosts import host
from lima.sources.stack_exchange.outcomes import PASSED, OutcomeRow, QuestionState
from lima.sources.stack_exchange.row_parser import PostTexts, UnreadableRow
from lima.sources.stack_exchange.table import bad_line
from lima.sources.stack_exchange.texts import Texts


class PostText(NamedTuple):
    """A chosen post."""

    row: OutcomeRow
    words: PostTexts
    raw: bytes


@dataclass(frozen=True)
class SelectedPosts:
    """What all candidates of a site share."""

    source: str
    name: str  # of the site
    licence: str  # where a row tells none
    shown: str  # the table's name in places
    texts: Texts
    early: Prefilter | None

    def records(
        self, outcomes: Iterable[QuestionState | Dropped], authors: Mapping[int, str]
    ) -> Iterator[Candidate | Dropped]:
        """A question's candidate comes after the rows on the way to it that cannot be read."""
        for outcome in outcomes:
            if isinstance(outcome, QuestionState):
                yield from self._asked(outcome, authors)
            else:
                yield outcome

    def _asked(self, asked: QuestionState, authors: Mapping[int, str]) -> Iterator[Candidate | Dropped]:
        """The candidate; none where too few votes are left."""
        question = self._read(asked.question)
        if isinstance(question, Dropped):
            yield question
            return
        answer: PostText | None = None
        voted = self.early is not None and not asked.spared  # stays for its votes
        for row in asked.answers:
            if self.early and voted and row.score < (least := self.early.min_response_score):
                yield self._passed("low_response_score", asked.question, best=row.score, least=least)
                return
            read = self._read(row)
            if not isinstance(read, Dropped):
                answer = read
                break
            yield read
        if voted and not answer:
            yield self._passed("no_answer", asked.question)
        else:
            yield self._candidate(question, answer, authors)

    def _read(self, row: OutcomeRow) -> PostText | Dropped:
        raw = self.texts.get(row)
        try:
            return PostText(row, row_parser.post_texts(raw), raw)
        except UnreadableRow as error:
            return bad_line(self.shown, row.line, str(error), raw)

    def _passed(self, reason: str, question: OutcomeRow, **votes: int) -> Dropped:
        detail = PASSED[reason].format(number=question.id, **votes)
        return Dropped(reason=reason, detail=detail, place=f"{self.shown}:{question.line}", raw="")

    def _candidate(self, question: PostText, answer: PostText | None, authors: Mapping[int, str]) -> Candidate:
        address = f"https://{host(self.name)}"
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
                url=f"{address}/a/{answer.row.id}" if answer else f"{address}/q/{number}",
                author=author,
                licence=licence,
                digest=digest(question.raw + b"\n" + answer.raw if answer else question.raw),
            ),
        )


def _author(said: PostTexts, authors: Mapping[int, str]) -> str:
    if said.owner is None:
        return said.owner_name or "an unnamed user"
    return authors.get(said.owner) or said.owner_name or f"user {said.owner}"


def _both(question: str, answer: str) -> str:
    return question if answer in ("", question) else f"{question} (question), {answer} (answer)"
