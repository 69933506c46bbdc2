"""Pages of hand selection. Only administrators select."""

import threading
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import Field

from lima.annotation import markdown, selection
from lima.annotation.admin import Admin
from lima.annotation.selection import Decisions, Index, Query, SelectionError
from lima.annotation.sessions import Body, MaybeVisitor
from lima.annotation.study import MAX_COMMENT
from lima.config import Params
from lima.curation.decisions import REASONS as MEANINGS

PAGE = 30  # candidates in the list
MAX_TEXT = 40_000  # characters of an edited text


class Decision(Body):
    decision: Literal["accept", "reject"]
    reason: str = Field("", max_length=MAX_COMMENT)
    prompt: str | None = Field(None, max_length=MAX_TEXT)
    response: str | None = Field(None, max_length=MAX_TEXT)
    seconds: float | int = Field(ge=0, le=86400)


def add_routes(app: FastAPI, params: Params, folder: Path) -> None:
    """Add the pages.

    Args:
        folder: of the indexes.
    """
    indexes: dict[str, Index] = {}
    lock = threading.Lock()
    decided = Decisions(Path(params.filter.reviews))

    def index(source: str) -> Index:
        if source not in selection.sources(params):
            raise HTTPException(404, f"no filtered candidates of {source[:40]}; run `dvc repro filter`")
        with lock:
            if source not in indexes:
                indexes[source] = selection.build(params, source, folder)
            return indexes[source]

    @app.get("/selection")
    def page(visitor: MaybeVisitor) -> HTMLResponse:
        shown: HTMLResponse
        if visitor is None or visitor.role != "admin":
            shown = app.state.page("welcome.html", visitor, open_access=app.state.open_access and visitor is None)
            shown.status_code = 403
            return shown
        shown = app.state.page(
            "selection.html", visitor, sources=selection.sources(params), reasons=selection.REASONS, path=decided.path
        )
        return shown

    @app.get("/api/selection/{source}")
    def facets(source: str, _: Admin) -> dict[str, Any]:
        found = index(source).facets()
        meanings = {status: MEANINGS.get(status, "").partition(" [")[0] for status, _ in found["status"]}
        return {**found, "meanings": meanings}

    @app.get("/api/selection/{source}/candidates")
    def candidates(
        source: str,
        _: Admin,
        status: str = selection.KEPT,
        site: str = "",
        text: str = "",
        min_score: int | None = None,
        min_length: int | None = None,
        reviewed: bool = False,
        offset: int = 0,
    ) -> dict[str, Any]:
        reviews = decided.all()
        query = Query(status, site, text, min_score, min_length, reviewed, offset)
        rows = index(source).search(query, list(reviews), most=PAGE)
        listed = [
            {
                **{name: row[name] for name in ("number", "site", "score", "length", "title")},
                "excerpt": row["response"][:160],
                "decision": reviews[row["digest"]].decision if row["digest"] in reviews else None,
            }
            for row in rows
        ]
        return {"candidates": listed, "decided": len(reviews), "pace": decided.pace()}

    @app.get("/api/selection/{source}/candidates/{number}")
    def candidate(source: str, number: int, _: Admin) -> dict[str, Any]:
        row = index(source).get(number)
        review = decided.all().get(row["digest"])
        prompt = row["prompt"] if review is None or review.prompt is None else review.prompt
        response = row["response"] if review is None or review.response is None else review.response
        return {
            **row,
            "prompt_html": markdown.to_html(prompt),
            "response_html": markdown.to_html(response),
            "edited": {"prompt": prompt, "response": response},
            "review": review.model_dump(include={"decision", "reason", "person"}) if review else None,
        }

    @app.post("/api/selection/{source}/candidates/{number}")
    def decide(source: str, number: int, body: Decision, visitor: Admin) -> dict[str, Any]:
        row = index(source).get(number)
        texts: dict[str, str | None] = {"prompt": None, "response": None}
        if body.decision == "reject":
            if not body.reason.strip():
                raise HTTPException(422, "a rejection needs a reason; choose one")
        else:
            prompt = row["prompt"] if body.prompt is None else body.prompt.strip()
            response = row["response"] if body.response is None else body.response.strip()
            if not prompt or not response:
                raise HTTPException(422, "the prompt or the response is empty; keep some text")
            # a dropped candidate is accepted with its texts, since the rules give it none
            if (prompt, response) != (row["prompt"], row["response"]) or row["status"] != selection.KEPT:
                texts = {"prompt": prompt, "response": response}
        decided.decide(
            row,
            decision=body.decision,
            reason=body.reason.strip(),
            person=visitor.person.pseudonym,
            seconds=round(float(body.seconds), 1),
            **texts,
        )
        return {"saved": True, "decided": len(decided.all()), "pace": decided.pace()}

    @app.post("/api/selection/{source}/candidates/{number}/undo")
    def undo(source: str, number: int, _: Admin) -> dict[str, Any]:
        return {"undone": decided.undo(index(source).get(number)["digest"])}

    @app.exception_handler(SelectionError)
    async def refused(_: Any, error: SelectionError) -> Any:
        from fastapi.responses import JSONResponse

        return JSONResponse({"error": str(error)}, 422)
