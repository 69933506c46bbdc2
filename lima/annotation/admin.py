"""Administration of a study: progress, quality of the judgments, invitations and the end of a pilot."""

from collections import Counter
from dataclasses import asdict

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import Field

from lima.annotation import agreement, pages, quality
from lima.annotation.questions import CONTROLS, Question
from lima.annotation.server import CurrentServer
from lima.annotation.sessions import Admin, Body, Confirmed, MaybeVisitor
from lima.annotation.study import Study
from lima.records import OFF_SUBJECT

WORTH = 10  # items listed as worth labelling next
EXCERPT = 100  # characters of a prompt
router = APIRouter()


class Invitations(Body):
    number: int = Field(ge=1, le=200)


@router.get("/admin")
def admin(visitor: MaybeVisitor, server: CurrentServer) -> HTMLResponse:
    if visitor is None or visitor.role != "admin":
        return pages.refused_page(server, visitor)
    study = server.study
    parts = [_part(study, name) for name in study.evaluations]
    live = [_live_part(study, name) for name in server.conversations.evaluations]
    return pages.page(
        server, "admin.html", visitor, parts=parts, live=live, phase=study.phase, open_access=server.open_access
    )


@router.post("/api/admin/invitations")
def invite(body: Invitations, _: Admin, server: CurrentServer) -> dict[str, list[str]]:
    return {"tokens": [server.study.store.invite("person") for _ in range(body.number)]}


@router.get("/api/admin/agreement/{slug}")
def agreement_table(slug: str, _: Admin, server: CurrentServer) -> dict[str, object]:
    study = server.study
    evaluation = study.slugs.get(slug)
    if evaluation is None:
        raise HTTPException(404, "unknown task; reload the page")
    questions = {
        (q.prompt_id, q.sample, q.turn, q.contestant): (q.prompt_id, q.sample, q.turn, q.contestant, q.digest)
        for q in evaluation.questions
    }
    current = set(questions.values())
    people = {
        person: {item: value for item, value in labels.items() if item in current}
        for person, labels in agreement.labels_of_people(study.annotations(evaluation.name)).items()
    }
    judges = {
        judge: {questions[position]: value for position, value in values.items() if position in questions}
        for judge, values in evaluation.judges.items()
    }
    rows = agreement.in_process(evaluation.task, people, judges, study.settings)
    return {"rows": [asdict(row) for row in rows], "confidence": study.settings.confidence}


@router.post("/api/admin/end-pilot")
def end_pilot(body: Confirmed, _: Admin, server: CurrentServer) -> dict[str, bool]:
    server.study.store.set_meta("phase", "main")
    return {"ok": body.confirm}


def _part(study: Study, name: str) -> dict[str, object]:
    """What the page shows of one evaluation."""
    evaluation = study.evaluations[name]
    records = study.annotations(name)
    current = {question.digest for question in evaluation.questions}
    counts = Counter(
        quality.unit(r) for r in records if r.kind == "main" and r.value is not None and r.texts in current
    )
    coverage = Counter(min(count, study.settings.overlap) for count in counts.values())
    coverage[0] = len(evaluation.questions) - len(counts)
    return {
        "name": name,
        "title": CONTROLS[evaluation.task].title,
        "coverage": sorted(coverage.items()),
        "people": quality.summarize(records, study.settings),
        "slug": study.slug(evaluation),
        "disagreements": len(study.disagreements(evaluation)),
        "worth": [
            (_excerpt(question), sorted(Counter(votes.values()).items()), len(votes))
            for question, votes in study.worth_labelling(evaluation, WORTH)
        ],
    }


def _live_part(study: Study, name: str) -> dict[str, object]:
    """What the page shows of an evaluation with live conversations."""
    records = study.annotations(name)
    graded = [record for record in records if record.exchange is not None]
    people = []
    for summary in quality.summarize(graded, study.settings):
        own = [record for record in records if record.person == summary.person]
        conversations = {(record.prompt_id, record.contestant) for record in own if record.exchange is not None}
        off_subject = sum(record.reason == OFF_SUBJECT for record in own)
        preferences = sum(record.task == "pairwise" and record.value is not None for record in own)
        people.append((summary, len(conversations), off_subject, preferences))
    return {"name": name, "people": people}


def _excerpt(question: Question) -> str:
    text = " ".join(question.messages[-1].content.split())
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]} …"
