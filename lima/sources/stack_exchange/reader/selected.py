"""Candidates from the selected posts of a Stack Exchange site: their rows are decoded here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lima.records import Candidate, Dropped, Provenance
from lima.sources.base import Prefilter, digest
from lima.sources.stack_exchange.reader import row_parser
from lima.sources.stack_exchange.reader.hosts import host
from lima.sources.stack_exchange.reader.outcomes import PASSED, OutcomeRow, QuestionState
from lima.sources.stack_exchange.reader.row_parser import PostTexts, UnreadableRow
from lima.sources.stack_exchange.reader.table import bad_line
from lima.sources.stack_exchange.reader.texts import Texts


class PostText(NamedTuple):
    """A selected post."""

    row: OutcomeRow
    texts: PostTexts
    raw: bytes


@dataclass(frozen=True)
class SelectedPosts:
    """Context of a site that all its candidates share."""

    source: str
    name: str  # of the site
    license: str  # for rows without one
    shown: str  # the table's name in `place` of dropped rows
    texts: Texts
    early: Prefilter | None

    def records(
        self, outcomes: Iterable[QuestionState | Dropped], authors: Mapping[int, str]
    ) -> Iterator[Candidate | Dropped]:
        """Candidates and dropped posts. A question's unreadable rows precede its candidate."""
        for outcome in outcomes:
            if isinstance(outcome, QuestionState):
                yield from self._decode(outcome, authors)
            else:
                yield outcome

    def _decode(self, state: QuestionState, authors: Mapping[int, str]) -> Iterator[Candidate | Dropped]:
        """The candidate with the best readable answer; Dropped if that answer's score is too low."""
        question = self._read(state.question)
        if isinstance(question, Dropped):
            yield question
            return
        answer: PostText | None = None
        voted = self.early is not None and not state.spared  # kept for its votes, not by the reservoir
        for row in state.answers:
            if self.early and voted and row.score < (least := self.early.min_response_score):
                yield self._passed("low_response_score", state.question, best=row.score, least=least)
                return
            read = self._read(row)
            if not isinstance(read, Dropped):
                answer = read
                break
            yield read
        if voted and not answer:
            yield self._passed("no_answer", state.question)
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
        number, texts = question.row.id, question.texts
        author, license = _author(texts, authors), texts.license or self.license
        if answer:
            author = _both(author, _author(answer.texts, authors))
            license = _both(license, answer.texts.license or self.license)
        return Candidate(
            id=f"{self.source}/{self.name}/{number}",
            title=texts.title,
            description=texts.body,
            response=answer.texts.body if answer else "",
            later_turns=(),
            markup="html",
            score=question.row.score,
            response_score=answer.row.score if answer else None,
            tags=texts.tags,
            provenance=Provenance(
                source=self.source,
                site=self.name,
                id=str(number),
                url=f"{address}/a/{answer.row.id}" if answer else f"{address}/q/{number}",
                author=author,
                license=license,
                digest=digest(question.raw + b"\n" + answer.raw if answer else question.raw),
            ),
        )


def _author(texts: PostTexts, authors: Mapping[int, str]) -> str:
    if texts.owner is None:
        return texts.owner_name or "an unnamed user"
    return authors.get(texts.owner) or texts.owner_name or f"user {texts.owner}"


def _both(question: str, answer: str) -> str:
    return question if answer in ("", question) else f"{question} (question), {answer} (answer)"
