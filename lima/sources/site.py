"""A Stack Exchange site's index: where each post lies, which answers belong to which question, and what is left out."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path
from typing import NamedTuple

from lima.records import Dropped
from lima.sources import posts
from lima.sources.posts import Line, Post, UnreadableRow
from lima.sources.reading import DumpError, Early, Tally, bad_row

COMMUNITY, ANSWER_BOT = -1, -2  # users that are no people
FABRICATED = frozenset((1000000001, 1000000010))  # ids of the posts in dumps since 2024 that nobody wrote


class Asked(NamedTuple):
    accepted: int | None
    line: int  # its number
    offset: int


class Rank(NamedTuple):
    """What decides among a question's answers, and where the answer's row is."""

    score: int
    id: int
    line: int
    offset: int
    blank: bool  # nothing but space


@dataclass
class Index:
    file: Path
    shown: str  # the file's name in places
    seen: set[int] = field(default_factory=set)  # ids of posts
    left_out: set[int] = field(default_factory=set)
    questions: dict[int, Asked] = field(default_factory=dict)
    answers: dict[int, list[Rank]] = field(default_factory=lambda: defaultdict(list))  # a question
    owners: set[int] = field(default_factory=set)

    def fill(self, tally: Tally) -> Iterator[Dropped]:
        """Read the rows; yield those that are left out."""
        before = tally.rows
        for line in posts.lines(self.file):
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
        if tally.rows == before:
            raise DumpError(f"{self.shown} holds no posts; fetch the dump again, or take it out of the dumps")
        yield from self._orphans()

    def best(self, question: int) -> Rank | None:
        """The answer with the highest score, as a number; of equals the accepted one, then the oldest."""
        accepted = self.questions[question].accepted
        ranks = self.answers.get(question, [])
        return max(ranks, key=lambda rank: (rank.score, rank.id == accepted, -rank.id), default=None)

    def leave_out(self, early: Early, *, prefix: str) -> Iterator[Dropped]:
        """Take out the questions whose votes are too few, but for those that arms without filters draw from.

        `prefix` and a question's id are a candidate's id.
        """
        best = {question: self.best(question) for question in self.questions}
        answered = (question for question, rank in best.items() if rank and not rank.blank)
        spared = set(nsmallest(early.reservoir, answered, key=lambda question: early.share(f"{prefix}{question}")))
        for question, rank in best.items():
            if question in spared or (rank and rank.score >= early.min_response_score):
                continue
            line = self.questions.pop(question).line
            if rank is None or rank.blank:
                yield self._dropped("no_answer", f"question {question}", line)
            else:
                detail = f"question {question}: {rank.score}, at least {early.min_response_score}"
                yield self._dropped("low_response_score", detail, line)

    def _fault(self, post: Post) -> tuple[str, str] | None:
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
            self.questions[post.id] = Asked(post.accepted, line.number, line.offset)
        elif post.kind == posts.ANSWER and post.parent is not None:
            self.answers[post.parent].append(
                Rank(post.score, post.id, line.number, line.offset, blank=not post.body.strip())
            )
        if post.owner is not None and post.kind in (posts.QUESTION, posts.ANSWER):
            self.owners.add(post.owner)

    def _orphans(self) -> Iterator[Dropped]:
        for question, answers in self.answers.items():
            if question not in self.questions and question not in self.left_out:
                for answer in answers:
                    detail = f"answer {answer.id} to question {question}, which is not in the dump"
                    yield self._dropped("orphan_answer", detail, answer.line)


def _fault(post: Post) -> tuple[str, str] | None:
    """Reason and detail, where a post is left out for what it is."""
    if post.id in FABRICATED and post.owner == COMMUNITY:
        return "fabricated", f"post {post.id} of user {COMMUNITY}"
    if post.kind == posts.ANSWER and post.owner == ANSWER_BOT:
        return "bot_answer", f"answer {post.id} of user {ANSWER_BOT}"
    if post.kind == posts.QUESTION and post.closed:
        return "closed", f"question {post.id}, {post.closed}"
    return None
