"""The web application of `lima annotate`: its routers, middleware and error responses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from lima.annotation import admin, conversation_routes, judging, pages, security, sessions
from lima.annotation.conversations import Conversations, LiveEvaluation
from lima.annotation.live_replies import LiveReplies, Replies
from lima.annotation.server import Mirror, Server
from lima.annotation.store import Conflict, StudyError
from lima.annotation.study import Study


def create(
    study: Study,
    *,
    open_access: bool,
    annotations: Path,
    live: Sequence[LiveEvaluation] = (),
    source: Replies | None = None,
) -> FastAPI:
    """The application.

    Args:
        open_access: on loopback only: anyone may choose a pseudonym, and everyone is an administrator.
        annotations: folder of the JSONL files that mirror the database.
        live: evaluations whose contestants people talk to.
        source: of these contestants' replies; required if there are any.
    """
    mirror = Mirror(study, annotations)
    conversations = Conversations(study, live)
    replies = LiveReplies(conversations, source, stored=mirror.changed.set)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(mirror.run())
        yield
        await replies.close()
        task.cancel()
        mirror.write()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(
        security.Guard,
        loopback_only=open_access,
        max_body=1000 * study.settings.max_body_kilobytes,
    )
    app.mount("/static", StaticFiles(packages=[("lima.annotation", "static")]), name="static")
    app.state.server = Server(study, mirror, open_access, conversations, replies)
    for router in (pages.router, sessions.router, judging.router, conversation_routes.router, admin.router):
        app.include_router(router)
    _add_error_responses(app)
    return app


def _add_error_responses(app: FastAPI) -> None:
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
