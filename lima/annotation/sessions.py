"""Sessions of the annotation server: who sends a request, the CSRF token, log-in, log-out and withdrawal."""

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Cookie, Depends, Header, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from lima.annotation import security
from lima.annotation.server import CurrentServer
from lima.annotation.store import Session

COOKIE = "annotation_session"
PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
SESSION_SECONDS = 30 * 24 * 3600
router = APIRouter()


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Confirmed(Body):
    confirm: Literal[True]


class Login(Body):
    token: str | None = Field(None, max_length=200)
    pseudonym: str | None = Field(None, max_length=64)


class Visitor:
    """The session of a request, with the token that its cookie holds."""

    def __init__(self, session: Session, token: str) -> None:
        self.person = session.person
        self.role = session.role
        self.token = token


def current_visitor(
    server: CurrentServer, session: Annotated[str | None, Cookie(alias=COOKIE)] = None
) -> Visitor | None:
    opened = server.study.store.session(session) if session else None
    return Visitor(opened, session) if opened and session else None


MaybeVisitor = Annotated[Visitor | None, Depends(current_visitor)]


def required_visitor(
    request: Request, server: CurrentServer, visitor: MaybeVisitor, x_csrf_token: Annotated[str, Header()] = ""
) -> Visitor:
    """The session of a request to the JSON interface; requests that change data need the CSRF token."""
    if visitor is None:
        raise HTTPException(401, "no session; open your invitation link again")
    if request.method not in security.SAFE_METHODS:
        expected = security.csrf_token(server.study.store.secret, visitor.token)
        if not security.same(expected, x_csrf_token):
            raise HTTPException(403, "the request has no valid CSRF token; reload the page")
    return visitor


Known = Annotated[Visitor, Depends(required_visitor)]


def administrator(visitor: Known) -> Visitor:
    """The session of an administrator. Raises HTTPException for everyone else."""
    if visitor.role != "admin":
        raise HTTPException(403, "only administrators may do this; open an administrator's link")
    return visitor


Admin = Annotated[Visitor, Depends(administrator)]


@router.post("/api/session")
def log_in(body: Login, request: Request, response: Response, server: CurrentServer) -> dict[str, str]:
    store = server.study.store
    if body.token is not None:
        session = store.redeem(body.token)
        if session is None:
            raise HTTPException(403, "unknown invitation; ask for a new link")
    elif server.open_access and body.pseudonym is not None:
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


@router.post("/api/log-out")
def log_out(visitor: Known, response: Response, server: CurrentServer) -> dict[str, bool]:
    server.study.store.close_session(visitor.token)
    response.delete_cookie(COOKIE)
    return {"ok": True}


@router.post("/api/withdraw")
def withdraw(body: Confirmed, visitor: Known, response: Response, server: CurrentServer) -> dict[str, int]:
    deleted = server.study.store.withdraw(visitor.person)
    server.mirror.write()  # before the page confirms it
    response.delete_cookie(COOKIE)
    return {"deleted": deleted}
