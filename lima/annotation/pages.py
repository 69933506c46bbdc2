"""HTML pages for people who judge: the welcome page, the list of tasks and the page of an item."""

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from lima.annotation import markdown, security
from lima.annotation.questions import CONTROLS, SKIP_REASONS, Control
from lima.annotation.server import CurrentServer, Server
from lima.annotation.sessions import MaybeVisitor, Visitor
from lima.annotation.study import MAX_COMMENT

LINKS = (("/selection", "Selection"), ("/admin", "Administration"))  # shown to administrators
TEMPLATES = Environment(
    loader=PackageLoader("lima.annotation"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
CONVERSATION = Control(
    "Talk with a model", "You hold a conversation and grade each answer.", CONTROLS["dialogue"].choices
)
router = APIRouter()


def page(server: Server, template: str, visitor: Visitor | None, **values: object) -> HTMLResponse:
    csrf = security.csrf_token(server.study.store.secret, visitor.token) if visitor else ""
    return HTMLResponse(TEMPLATES.get_template(template).render(visitor=visitor, csrf=csrf, links=LINKS, **values))


def refused_page(server: Server, visitor: Visitor | None) -> HTMLResponse:
    """The welcome page with status 403, for a page of administrators that someone else opens."""
    shown = page(server, "welcome.html", visitor, open_access=server.open_access and visitor is None)
    shown.status_code = 403
    return shown


@router.get("/")
def home(visitor: MaybeVisitor, server: CurrentServer) -> HTMLResponse:
    if visitor is None:
        return page(server, "welcome.html", None, open_access=server.open_access)
    study = server.study
    progress = {slug: study.progress(visitor.person, evaluation) for slug, evaluation in study.slugs.items()}
    tasks = [
        {"address": f"/tasks/{slug}", "control": CONTROLS[evaluation.task], "progress": progress[slug]}
        for slug, evaluation in study.slugs.items()
    ]
    live = server.conversations
    tasks += [
        {
            "address": f"/conversations/{slug}",
            "control": CONVERSATION,
            "progress": live.progress(visitor.person, evaluation),
        }
        for slug, evaluation in live.slugs.items()
    ]
    talked = all(live.is_finished(visitor.person, evaluation) for evaluation in live.slugs.values())
    finished = bool(tasks) and talked and all(each.judged >= each.available for each in progress.values())
    code = study.completion_code(visitor.person) if finished and not server.open_access else None
    return page(server, "home.html", visitor, tasks=tasks, code=code, phase=study.phase)


@router.get("/join")
def join(server: CurrentServer) -> HTMLResponse:
    return page(server, "join.html", None)


@router.get("/tasks/{slug}")
def task(slug: str, visitor: MaybeVisitor, server: CurrentServer) -> HTMLResponse:
    return _judging(server, slug, visitor, api=f"/api/tasks/{slug}")


@router.get("/adjudications/{slug}")
def adjudication(slug: str, visitor: MaybeVisitor, server: CurrentServer) -> HTMLResponse:
    return _judging(server, slug, visitor, api=f"/api/adjudications/{slug}")


def _judging(server: Server, slug: str, visitor: Visitor | None, *, api: str) -> HTMLResponse:
    if visitor is None:
        return page(server, "welcome.html", None, open_access=server.open_access)
    evaluation = server.evaluation(slug)
    return page(
        server,
        "judge.html",
        visitor,
        api=api,
        task=evaluation.task,
        control=CONTROLS[evaluation.task],
        skip_reasons=SKIP_REASONS,
        max_comment=MAX_COMMENT,
    )


@router.get("/static-code.css")
def code_styles() -> Response:
    return Response(markdown.code_styles(), media_type="text/css")


@router.get("/favicon.ico")
def icon() -> PlainTextResponse:
    return PlainTextResponse("", 204)
