"""The web application of `lima annotate`: pages and the JSON interface that they use."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field

from lima.annotation import admin, comprehension, markdown, security
from lima.annotation.admin import Admin
from lima.annotation.questions import CONTROLS, SKIP_REASONS, Question, StudyEvaluation
from lima.annotation.sessions import COOKIE, Body, Confirmed, Known, MaybeVisitor, Visitor
from lima.annotation.store import Assignment, Conflict, Person, Saved, Session, StudyError
from lima.annotation.study import ADJUDICATOR, MAX_COMMENT, Study, write_annotations

PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
MIRROR_SECONDS = 1.0  # between a judgment and its line in corpus/annotations, at most
SESSION_SECONDS = 30 * 24 * 3600
LINKS = (("/selection", "Selection"), ("/admin", "Administration"))  # shown to administrators
TEMPLATES = Environment(
    loader=PackageLoader("lima.annotation"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Login(Body):
    token: str | None = Field(None, max_length=200)
    pseudonym: str | None = Field(None, max_length=64)


class Submission(Body):
    assignment: str = Field(max_length=64)
    version: int = Field(ge=0)
    request: str = Field(min_length=8, max_length=64)
    value: str | None = Field(max_length=40)
    reason: str = Field("", max_length=40)
    comment: str = Field("", max_length=4 * MAX_COMMENT)
    seconds: float | int = Field(ge=0)


class CheckAnswers(Body):
    answers: list[Annotated[str, Field(max_length=40)]] = Field(max_length=20)


def create(study: Study, *, open_access: bool, annotations: Path) -> FastAPI:
    """The application.

    Args:
        open_access: on loopback only: anyone may choose a pseudonym, and everyone is an administrator.
        annotations: folder of the JSONL files that mirror the database.
    """
    mirror = _Mirror(study, annotations)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(mirror.run())
        yield
        task.cancel()
        mirror.write()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(
        security.Guard,
        loopback_only=open_access,
        max_body=1000 * study.settings.max_body_kilobytes,
    )
    app.mount("/static", StaticFiles(packages=[("lima.annotation", "static")]), name="static")
    app.state.study = study
    app.state.open_access = open_access
    app.state.mirror = mirror
    _add_pages(app, study, open_access=open_access)
    _add_sessions(app, study, open_access=open_access)
    _add_judging(app, study, mirror)
    admin.add_routes(app, study, open_access=open_access)
    _add_errors(app)
    return app


class _Mirror:
    """Writes changed annotations to JSONL files in the background, at most once per MIRROR_SECONDS."""

    def __init__(self, study: Study, folder: Path) -> None:
        self._study = study
        self._folder = folder
        self.changed = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self.changed.wait()
            await asyncio.sleep(MIRROR_SECONDS)
            self.changed.clear()
            await asyncio.to_thread(self.write)

    def write(self) -> None:
        write_annotations(self._study, self._folder)


# --- sessions ---


def _add_sessions(app: FastAPI, study: Study, *, open_access: bool) -> None:
    store = study.store

    @app.post("/api/session")
    def log_in(body: Login, request: Request, response: Response) -> dict[str, str]:
        if body.token is not None:
            session = store.redeem(body.token)
            if session is None:
                raise HTTPException(403, "unknown invitation; ask for a new link")
        elif open_access and body.pseudonym is not None:
            if not PSEUDONYM.fullmatch(body.pseudonym):
                raise HTTPException(
                    422, "a pseudonym has 1 to 32 letters, digits, “_” or “-” and begins with a letter or digit"
                )
            session = Session(store.person(body.pseudonym), "admin")
        else:
            raise HTTPException(403, "this study needs an invitation; open your invitation link")
        response.set_cookie(
            COOKIE,
            store.open_session(session),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return {"person": session.person.pseudonym}

    @app.post("/api/log-out")
    def log_out(visitor: Known, response: Response) -> dict[str, bool]:
        store.close_session(visitor.token)
        response.delete_cookie(COOKIE)
        return {"ok": True}

    @app.post("/api/withdraw")
    def withdraw(body: Confirmed, visitor: Known, response: Response) -> dict[str, int]:
        deleted = store.withdraw(visitor.person)
        app.state.mirror.write()  # before the page confirms it
        response.delete_cookie(COOKIE)
        return {"deleted": deleted}


# --- pages ---


def _add_pages(app: FastAPI, study: Study, *, open_access: bool) -> None:
    def page(name: str, visitor: Visitor | None, **values: Any) -> HTMLResponse:
        csrf = security.csrf_token(study.store.secret, visitor.token) if visitor else ""
        return HTMLResponse(TEMPLATES.get_template(name).render(visitor=visitor, csrf=csrf, links=LINKS, **values))

    app.state.page = page

    @app.get("/")
    def home(visitor: MaybeVisitor) -> HTMLResponse:
        if visitor is None:
            return page("welcome.html", None, open_access=open_access)
        progress = {slug: study.progress(visitor.person, evaluation) for slug, evaluation in study.slugs.items()}
        tasks = [
            {"slug": slug, "control": CONTROLS[evaluation.task], "progress": progress[slug]}
            for slug, evaluation in study.slugs.items()
        ]
        finished = bool(tasks) and all(each.judged >= each.available for each in progress.values())
        code = study.completion_code(visitor.person) if finished and not open_access else None
        return page("home.html", visitor, tasks=tasks, code=code, phase=study.phase)

    @app.get("/join")
    def join() -> HTMLResponse:
        return page("join.html", None)

    @app.get("/tasks/{slug}")
    def task(slug: str, visitor: MaybeVisitor) -> HTMLResponse:
        return judging(slug, visitor, api=f"/api/tasks/{slug}")

    @app.get("/adjudications/{slug}")
    def adjudication(slug: str, visitor: MaybeVisitor) -> HTMLResponse:
        return judging(slug, visitor, api=f"/api/adjudications/{slug}")

    def judging(slug: str, visitor: Visitor | None, *, api: str) -> HTMLResponse:
        if visitor is None:
            return page("welcome.html", None, open_access=open_access)
        evaluation = _evaluation(study, slug)
        return page(
            "judge.html",
            visitor,
            api=api,
            task=evaluation.task,
            control=CONTROLS[evaluation.task],
            skip_reasons=SKIP_REASONS,
            max_comment=MAX_COMMENT,
        )

    @app.get("/static-code.css")
    def code_styles() -> Response:
        return Response(markdown.code_styles(), media_type="text/css")


def _evaluation(study: Study, slug: str) -> StudyEvaluation:
    evaluation = study.slugs.get(slug)
    if evaluation is None:
        raise HTTPException(404, "unknown task; return to the list of tasks")
    return evaluation


# --- judging ---


def _add_judging(app: FastAPI, study: Study, mirror: _Mirror) -> None:
    """The interface to a person's items below /api/tasks, and to disagreements below /api/adjudications."""

    def state(slug: str, person: Person, *, adjudicating: bool) -> dict[str, Any]:
        """What the page shows next: a comprehension check, an item or the end."""
        evaluation = _evaluation(study, slug)
        if not adjudicating and study.settings.comprehension and not study.store.check(person, evaluation.task)[1]:
            cases = [case for case, _ in comprehension.CASES[evaluation.task]]
            return {"status": "check", "cases": cases, "progress": {"judged": 0, "available": 0}}
        choose = study.next_disagreement if adjudicating else study.next
        assignment, progress = choose(person, evaluation)
        shown = {"judged": progress.judged, "available": progress.available}
        if assignment is None:
            return {"status": "finished", "progress": shown}
        return {"status": "item", "item": _item(study.question(assignment), assignment, None), "progress": shown}

    async def save(slug: str, body: Submission, person: Person, *, adjudicating: bool) -> dict[str, Any]:
        def stored() -> dict[str, Any]:
            assignment, _ = study.store.assignment(body.assignment, person)
            study.judge(
                person,
                assignment,
                version=body.version,
                request=body.request,
                value=body.value,
                reason=body.reason,
                comment=body.comment,
                seconds=float(body.seconds),
            )
            return {"saved": True, "next": state(slug, person, adjudicating=adjudicating)}

        result = await asyncio.to_thread(stored)
        mirror.changed.set()
        return result

    def before(slug: str, assignment: str, person: Person) -> dict[str, Any]:
        """The judged item before this one; the last one for "end"."""
        evaluation = _evaluation(study, slug)
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

    def adjudicator() -> Person:
        return study.store.person(ADJUDICATOR)

    @app.get("/api/tasks/{slug}")
    def next_item(slug: str, visitor: Known) -> dict[str, Any]:
        return state(slug, visitor.person, adjudicating=False)

    @app.post("/api/tasks/{slug}/check")
    def check(slug: str, body: CheckAnswers, visitor: Known) -> dict[str, Any]:
        evaluation = _evaluation(study, slug)
        wrong = comprehension.wrong(evaluation.task, body.answers)
        study.store.record_check(visitor.person, evaluation.task, passed=not wrong)
        return {"wrong": wrong, "next": None if wrong else state(slug, visitor.person, adjudicating=False)}

    @app.post("/api/tasks/{slug}/judgments")
    async def judge(slug: str, body: Submission, visitor: Known) -> dict[str, Any]:
        return await save(slug, body, visitor.person, adjudicating=False)

    @app.get("/api/tasks/{slug}/items/{assignment}/previous")
    def previous(slug: str, assignment: str, visitor: Known) -> dict[str, Any]:
        return before(slug, assignment, visitor.person)

    @app.get("/api/adjudications/{slug}")
    def next_disagreement(slug: str, _: Admin) -> dict[str, Any]:
        return state(slug, adjudicator(), adjudicating=True)

    @app.post("/api/adjudications/{slug}/judgments")
    async def adjudicate(slug: str, body: Submission, _: Admin) -> dict[str, Any]:
        return await save(slug, body, adjudicator(), adjudicating=True)

    @app.get("/api/adjudications/{slug}/items/{assignment}/previous")
    def previous_disagreement(slug: str, assignment: str, _: Admin) -> dict[str, Any]:
        return before(slug, assignment, adjudicator())


def _item(question: Question, assignment: Assignment, saved: Saved | None) -> dict[str, Any]:
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


# --- errors ---


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        fields = ", ".join(str(problem["loc"][-1]) for problem in error.errors())
        return JSONResponse({"error": f"invalid request: {fields}; reload the page"}, 422)

    @app.exception_handler(StudyError)
    async def rejected(_: Request, error: StudyError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 409 if isinstance(error, Conflict) else 422)

    @app.get("/favicon.ico")
    def icon() -> PlainTextResponse:
        return PlainTextResponse("", 204)
