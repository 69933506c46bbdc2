"""JSON interface to a person's items below /api/tasks, and to disagreements below /api/adjudications."""

import asyncio
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from lima.annotation import comprehension, markdown
from lima.annotation.questions import CONTROLS, Question
from lima.annotation.server import CurrentServer, Server
from lima.annotation.sessions import Admin, Body, Known
from lima.annotation.store import Assignment, Person, Saved, Submitted
from lima.annotation.study import ADJUDICATOR, MAX_COMMENT

router = APIRouter()


class JudgmentBody(Body):
    """What every judgment contains."""

    version: int = Field(ge=0)
    request: str = Field(min_length=8, max_length=64)
    value: str | None = Field(max_length=40)
    comment: str = Field("", max_length=4 * MAX_COMMENT)
    seconds: float | int = Field(ge=0)

    def submitted(self, reason: str = "") -> Submitted:
        return Submitted(self.version, self.request, self.value, reason, self.comment, float(self.seconds))


class Submission(JudgmentBody):
    assignment: str = Field(max_length=64)
    reason: str = Field("", max_length=40)


class CheckAnswers(Body):
    answers: list[Annotated[str, Field(max_length=40)]] = Field(max_length=20)


# --- a person's items ---


@router.get("/api/tasks/{slug}")
def next_item(slug: str, visitor: Known, server: CurrentServer) -> dict[str, object]:
    return _next(server, slug, visitor.person, adjudicating=False)


@router.post("/api/tasks/{slug}/check")
def check(slug: str, body: CheckAnswers, visitor: Known, server: CurrentServer) -> dict[str, object]:
    evaluation = server.evaluation(slug)
    wrong = comprehension.wrong(evaluation.task, body.answers)
    server.study.store.record_check(visitor.person, evaluation.task, passed=not wrong)
    return {"wrong": wrong, "next": None if wrong else _next(server, slug, visitor.person, adjudicating=False)}


@router.post("/api/tasks/{slug}/judgments")
async def judge(slug: str, body: Submission, visitor: Known, server: CurrentServer) -> dict[str, object]:
    return await _save(server, slug, body, visitor.person, adjudicating=False)


@router.get("/api/tasks/{slug}/items/{assignment}/previous")
def previous(slug: str, assignment: str, visitor: Known, server: CurrentServer) -> dict[str, object]:
    return _previous(server, slug, assignment, visitor.person)


# --- disagreements ---


@router.get("/api/adjudications/{slug}")
def next_disagreement(slug: str, _: Admin, server: CurrentServer) -> dict[str, object]:
    return _next(server, slug, _adjudicator(server), adjudicating=True)


@router.post("/api/adjudications/{slug}/judgments")
async def adjudicate(slug: str, body: Submission, _: Admin, server: CurrentServer) -> dict[str, object]:
    return await _save(server, slug, body, _adjudicator(server), adjudicating=True)


@router.get("/api/adjudications/{slug}/items/{assignment}/previous")
def previous_disagreement(slug: str, assignment: str, _: Admin, server: CurrentServer) -> dict[str, object]:
    return _previous(server, slug, assignment, _adjudicator(server))


def _adjudicator(server: Server) -> Person:
    return server.study.store.person(ADJUDICATOR)


# --- both ---


def _next(server: Server, slug: str, person: Person, *, adjudicating: bool) -> dict[str, object]:
    """What the page shows next: a comprehension check, an item or the end."""
    study, evaluation = server.study, server.evaluation(slug)
    if not adjudicating and study.settings.comprehension and not study.store.check(person, evaluation.task)[1]:
        cases = [case for case, _ in comprehension.CASES[evaluation.task]]
        return {"status": "check", "cases": cases, "progress": {"judged": 0, "available": 0}}
    choose = study.next_disagreement if adjudicating else study.next
    assignment, progress = choose(person, evaluation)
    shown = {"judged": progress.judged, "available": progress.available}
    if assignment is None:
        return {"status": "finished", "progress": shown}
    return {"status": "item", "item": _item(study.question(assignment), assignment, None), "progress": shown}


async def _save(
    server: Server, slug: str, body: Submission, person: Person, *, adjudicating: bool
) -> dict[str, object]:
    """Store a judgment in a thread, and return the next item."""

    def stored() -> dict[str, object]:
        assignment, _ = server.study.store.assignment(body.assignment, person)
        server.study.judge(person, assignment, body.submitted(body.reason))
        return {"saved": True, "next": _next(server, slug, person, adjudicating=adjudicating)}

    result = await asyncio.to_thread(stored)
    server.mirror.changed.set()
    return result


def _previous(server: Server, slug: str, assignment: str, person: Person) -> dict[str, object]:
    """The judged item before this one; the last one for "end"."""
    study, evaluation = server.study, server.evaluation(slug)
    judged = [
        (other, saved)
        for other, saved in study.store.assignments(person, evaluation.name)
        if saved is not None and other.question in evaluation.by_id
    ]
    if assignment != "end":
        current, _ = study.store.assignment(assignment, person)
        judged = [pair for pair in judged if pair[0].ordinal < current.ordinal]
    if not judged:
        return {"item": None}
    earlier, saved = judged[-1]
    return {"item": _item(study.question(earlier), earlier, saved)}


def _item(question: Question, assignment: Assignment, saved: Saved | None) -> dict[str, object]:
    """What the browser receives of an item. It contains no name of a contestant."""
    texts = list(question.texts)
    if question.rival is not None and assignment.first == question.rival:
        texts.reverse()
    answers = [{"html": markdown.to_html(text), "empty": not text.strip()} for text in texts]
    if assignment.expected is not None:
        answers[-1]["html"] = f"{answers[-1]['html']}{_attention_check(question, assignment.expected)}"
    return {
        "assignment": assignment.id,
        "version": saved.version if saved else 0,
        "prompt": [{"role": turn.role, "html": markdown.to_html(turn.content)} for turn in question.messages],
        "answers": answers,
        "saved": {"value": saved.value, "reason": saved.reason, "comment": saved.comment} if saved else None,
    }


def _attention_check(question: Question, expected: str) -> str:
    """The paragraph at the end of the last response that asks for a certain choice."""
    label = next(choice.label for choice in CONTROLS[question.task].choices if choice.value == expected)
    return markdown.to_html(
        f"**This item checks your attention.** Please choose “{label}” here, independently of the texts."
    )
