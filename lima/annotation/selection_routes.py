"""Routes of hand selection. Only administrators select."""

import threading
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field

from lima.annotation import markdown, pages, selection
from lima.annotation.selection import Decisions, Index, IndexedCandidate, Query, SelectionError
from lima.annotation.server import CurrentServer
from lima.annotation.sessions import Admin, Body, MaybeVisitor
from lima.annotation.study import MAX_COMMENT
from lima.config import Params
from lima.curation.decisions import REASONS as MEANINGS
from lima.records import Dropped

PAGE = 30  # candidates in the list
MAX_TEXT = 40_000  # characters of an edited text
router = APIRouter()


class Decision(Body):
    decision: Literal["accept", "reject"]
    reason: str = Field("", max_length=MAX_COMMENT)
    prompt: str | None = Field(None, max_length=MAX_TEXT)
    response: str | None = Field(None, max_length=MAX_TEXT)
    seconds: float | int = Field(ge=0, le=86400)


class Texts(Body):
    prompt: str = Field(max_length=MAX_TEXT)
    response: str = Field(max_length=MAX_TEXT)


class Candidates:
    """The indexes of all sources, each opened on first use, and the decisions about their candidates."""

    def __init__(self, params: Params, folder: Path) -> None:
        self._params = params
        self._folder = folder
        self._indexes: dict[str, Index] = {}
        self._lock = threading.Lock()
        self.decisions = Decisions(Path(params.filter.reviews))

    def sources(self) -> list[str]:
        return selection.sources(self._params)

    def broken_rule(self, source: str, number: int, texts: Texts) -> Dropped | None:
        """The first rule that edited texts of a candidate break."""
        row = self.index(source).get(number)
        return selection.broken_rule(self._params, source, row, prompt=texts.prompt, response=texts.response)

    def index(self, source: str) -> Index:
        """Raises HTTPException for a source without filtered candidates."""
        if source not in self.sources():
            raise HTTPException(404, f"no filtered candidates of {source[:40]}; run `dvc repro filter`")
        with self._lock:
            if source not in self._indexes:
                self._indexes[source] = selection.build(self._params, source, self._folder)
            return self._indexes[source]


async def candidates_of(request: Request) -> Candidates:
    candidates: Candidates = request.app.state.candidates
    return candidates


AllCandidates = Annotated[Candidates, Depends(candidates_of)]


def add_routes(app: FastAPI, params: Params, folder: Path) -> None:
    """Add the routes to an application.

    Args:
        folder: of the indexes.
    """
    app.state.candidates = Candidates(params, folder)
    app.include_router(router)

    @app.exception_handler(SelectionError)
    async def refused(_: Request, error: SelectionError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)


@router.get("/selection")
def selection_page(visitor: MaybeVisitor, server: CurrentServer, candidates: AllCandidates) -> HTMLResponse:
    if visitor is None or visitor.role != "admin":
        return pages.refused_page(server, visitor)
    return pages.page(
        server,
        "selection.html",
        visitor,
        sources=candidates.sources(),
        reasons=selection.REASONS,
        rule=selection.RULE,
        path=candidates.decisions.path,
    )


@router.get("/api/selection/{source}")
def facets(source: str, _: Admin, candidates: AllCandidates) -> dict[str, object]:
    counts = candidates.index(source).facets()
    meanings = {status: MEANINGS.get(status, "").partition(" [")[0] for status, _ in counts["status"]}
    return {**counts, "meanings": meanings, "audits": candidates.decisions.audits()}


@router.get("/api/selection/{source}/candidates")
def listed_candidates(
    source: str,
    _: Admin,
    candidates: AllCandidates,
    status: str = selection.KEPT,
    site: str = "",
    text: str = "",
    min_score: int | None = None,
    min_length: int | None = None,
    reviewed: bool = False,
    offset: int = 0,
) -> dict[str, object]:
    reviews = candidates.decisions.all()
    query = Query(status, site, text, min_score, min_length, reviewed, offset)
    rows, total = candidates.index(source).search(query, list(reviews), most=PAGE)
    listed = [
        {
            **{name: row[name] for name in ("number", "site", "score", "length", "title")},
            "excerpt": row["response"][:160],
            "decision": reviews[row["digest"]].decision if row["digest"] in reviews else None,
        }
        for row in rows
    ]
    return {"candidates": listed, "total": total, "decided": len(reviews), "pace": candidates.decisions.pace()}


@router.get("/api/selection/{source}/candidates/{number}")
def candidate(source: str, number: int, _: Admin, candidates: AllCandidates) -> dict[str, object]:
    row = candidates.index(source).get(number)
    review = candidates.decisions.all().get(row["digest"])
    prompt = row["prompt"] if review is None or review.prompt is None else review.prompt
    response = row["response"] if review is None or review.response is None else review.response
    return {
        **row,
        "prompt_html": markdown.to_html(prompt),
        "response_html": markdown.to_html(response),
        "edited": {"prompt": prompt, "response": response},
        "review": review.model_dump(include={"decision", "reason", "person"}) if review else None,
    }


@router.post("/api/selection/{source}/candidates/{number}")
def decide(source: str, number: int, body: Decision, visitor: Admin, candidates: AllCandidates) -> dict[str, object]:
    row = candidates.index(source).get(number)
    if body.decision == "reject" and not body.reason.strip():
        raise HTTPException(422, "a rejection needs a reason; choose one")
    prompt, response = (None, None) if body.decision == "reject" else _accepted_texts(row, body)
    candidates.decisions.decide(
        row,
        decision=body.decision,
        reason=body.reason.strip(),
        person=visitor.person.pseudonym,
        seconds=round(float(body.seconds), 1),
        prompt=prompt,
        response=response,
    )
    return {"saved": True, "decided": len(candidates.decisions.all()), "pace": candidates.decisions.pace()}


def _accepted_texts(row: IndexedCandidate, body: Decision) -> tuple[str | None, str | None]:
    """Prompt and response to store with an accepted candidate; None for those of a kept candidate without edits.

    A dropped candidate is accepted with its texts, since the rules give it none.
    """
    prompt = row["prompt"] if body.prompt is None else body.prompt.strip()
    response = row["response"] if body.response is None else body.response.strip()
    if not prompt or not response:
        raise HTTPException(422, "the prompt or the response is empty; keep some text")
    unchanged = (prompt, response) == (row["prompt"], row["response"])
    return (None, None) if unchanged and row["status"] == selection.KEPT else (prompt, response)


@router.post("/api/selection/{source}/candidates/{number}/check")
def check(source: str, number: int, body: Texts, _: Admin, candidates: AllCandidates) -> dict[str, str]:
    """What the rules say about edited texts."""
    broken = candidates.broken_rule(source, number, body)
    return {"reason": broken.reason, "detail": broken.detail} if broken else {"reason": "", "detail": ""}


@router.post("/api/selection/{source}/candidates/{number}/undo")
def undo(source: str, number: int, _: Admin, candidates: AllCandidates) -> dict[str, object]:
    return {"undone": candidates.decisions.undo(candidates.index(source).get(number)["digest"])}
