"""Sessions of the annotation server: the visitor of a request, and the check of its CSRF token."""

from typing import Annotated, Literal

from fastapi import Cookie, Depends, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from lima.annotation import security
from lima.annotation.store import Session

COOKIE = "annotation_session"


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Confirmed(Body):
    confirm: Literal[True]


class Visitor:
    """The session of a request, with the token that its cookie holds."""

    def __init__(self, session: Session, token: str) -> None:
        self.person = session.person
        self.role = session.role
        self.token = token


def current_visitor(request: Request, session: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> Visitor | None:
    opened = request.app.state.study.store.session(session) if session else None
    return Visitor(opened, session) if opened and session else None


MaybeVisitor = Annotated[Visitor | None, Depends(current_visitor)]


def required_visitor(request: Request, visitor: MaybeVisitor, x_csrf_token: Annotated[str, Header()] = "") -> Visitor:
    """The session of a request to the JSON interface; requests that change data need the CSRF token."""
    if visitor is None:
        raise HTTPException(401, "no session; open your invitation link again")
    if request.method not in security.SAFE_METHODS:
        expected = security.csrf_token(request.app.state.study.store.secret, visitor.token)
        if not security.same(expected, x_csrf_token):
            raise HTTPException(403, "the request has no valid CSRF token; reload the page")
    return visitor


Known = Annotated[Visitor, Depends(required_visitor)]
