"""JSON interface to a person's live conversations below /api/conversations, and their page.

No reply contains the name of a contestant, an evaluation or a model; neither do messages about failures.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import Field

from lima.annotation import comprehension, markdown, pages
from lima.annotation.conversations import Conversation, Exchange, LiveEvaluation, Pair
from lima.annotation.judging import CheckAnswers, JudgmentBody, Submission
from lima.annotation.questions import SKIP_REASONS
from lima.annotation.server import CurrentServer, Server
from lima.annotation.sessions import Body, Known, MaybeVisitor
from lima.annotation.store import Person, Saved
from lima.annotation.study import MAX_COMMENT
from lima.records import OFF_SUBJECT

STREAM_SECONDS = 0.25  # between two states of a response that is being written, at least
INTERRUPTED = "The answer was interrupted. Your message is saved; try again."
router = APIRouter()


class Message(Body):
    conversation: str = Field(max_length=64)
    turn: int = Field(ge=0)
    request: str = Field(min_length=8, max_length=64)
    text: str = Field("", max_length=100_000)


class Attempt(Body):
    conversation: str = Field(max_length=64)
    turn: int = Field(ge=0)


class Ending(Body):
    conversation: str = Field(max_length=64)


class Grade(JudgmentBody):
    conversation: str = Field(max_length=64)
    turn: int = Field(ge=0)
    value: str = Field(max_length=40)
    off_subject: bool


@router.get("/conversations/{slug}")
def conversation_page(slug: str, visitor: MaybeVisitor, server: CurrentServer) -> HTMLResponse:
    if visitor is None:
        return pages.page(server, "welcome.html", None, open_access=server.open_access)
    server.conversations.evaluation(slug)
    return pages.page(
        server,
        "conversation.html",
        visitor,
        api=f"/api/conversations/{slug}",
        control=pages.CONVERSATION,
        skip_reasons=SKIP_REASONS,
        max_comment=MAX_COMMENT,
        max_chars=server.conversations.settings.max_chars,
        exchanges=server.conversations.settings.exchanges,
    )


@router.get("/api/conversations/{slug}")
async def current_state(slug: str, visitor: Known, server: CurrentServer) -> dict[str, object]:
    return await asyncio.to_thread(_state, server, slug, visitor.person)


@router.post("/api/conversations/{slug}/check")
def check(slug: str, body: CheckAnswers, visitor: Known, server: CurrentServer) -> dict[str, object]:
    wrong = comprehension.wrong("dialogue", body.answers)
    server.study.store.record_check(visitor.person, "dialogue", passed=not wrong)
    return {"wrong": wrong, "next": None if wrong else _state(server, slug, visitor.person)}


@router.post("/api/conversations/{slug}/messages")
async def say(slug: str, body: Message, visitor: Known, server: CurrentServer) -> dict[str, object]:
    """Store the person's turn, and request the response."""

    def stored() -> tuple[Conversation, Exchange]:
        conversation = server.conversations.conversation(body.conversation, visitor.person)
        return conversation, server.conversations.say(
            conversation, turn=body.turn, request=body.request, text=body.text
        )

    conversation, exchange = await asyncio.to_thread(stored)
    if exchange.response is None:
        server.replies.start(visitor.person, conversation, exchange.turn, exchange.attempt)
    return {"saved": True, "next": await current_state(slug, visitor, server)}


@router.post("/api/conversations/{slug}/attempts")
async def try_again(slug: str, body: Attempt, visitor: Known, server: CurrentServer) -> dict[str, object]:
    """Request a response again that failed or was interrupted."""
    conversation = await asyncio.to_thread(server.conversations.conversation, body.conversation, visitor.person)
    running = server.replies.current(conversation.id)
    if not (running and running.is_running):
        exchange = await asyncio.to_thread(server.conversations.next_attempt, conversation, body.turn)
        server.replies.start(visitor.person, conversation, body.turn, exchange.attempt)
    return {"next": await current_state(slug, visitor, server)}


@router.get("/api/conversations/{slug}/replies/{id_}")
async def follow(slug: str, id_: str, visitor: Known, server: CurrentServer) -> StreamingResponse:
    """The response that is being written, as a stream of JSON lines; the last one contains the new state."""
    conversation = await asyncio.to_thread(server.conversations.conversation, id_, visitor.person)
    reply = server.replies.current(conversation.id)

    async def lines() -> AsyncIterator[str]:
        if reply is not None:
            async for current in server.replies.follow(reply, STREAM_SECONDS):
                if current.is_running:
                    yield _line({"html": markdown.partial_html(current.text)})
        yield _line({"next": await current_state(slug, visitor, server)})

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.post("/api/conversations/{slug}/grades")
async def grade(slug: str, body: Grade, visitor: Known, server: CurrentServer) -> dict[str, object]:
    def stored() -> Saved:
        conversation = server.conversations.conversation(body.conversation, visitor.person)
        return server.conversations.grade(
            visitor.person, conversation, body.turn, body.submitted(), off_subject=body.off_subject
        )

    return await _saved(server, slug, visitor.person, stored)


@router.post("/api/conversations/{slug}/endings")
async def end(slug: str, body: Ending, visitor: Known, server: CurrentServer) -> dict[str, object]:
    def stored() -> None:
        server.conversations.end(server.conversations.conversation(body.conversation, visitor.person))

    return await _saved(server, slug, visitor.person, stored)


@router.post("/api/conversations/{slug}/preferences")
async def prefer(slug: str, body: Submission, visitor: Known, server: CurrentServer) -> dict[str, object]:
    def stored() -> Saved:
        assignment, _ = server.study.store.assignment(body.assignment, visitor.person)
        return server.conversations.prefer(visitor.person, assignment, body.submitted(body.reason))

    return await _saved(server, slug, visitor.person, stored)


async def _saved(server: Server, slug: str, person: Person, store: Callable[[], object]) -> dict[str, object]:
    def stored() -> dict[str, object]:
        store()
        return {"saved": True, "next": _state(server, slug, person)}

    result = await asyncio.to_thread(stored)
    server.mirror.changed.set()
    return result


def _line(content: dict[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


# --- what the page shows ---


def _state(server: Server, slug: str, person: Person) -> dict[str, object]:
    """A comprehension check, a conversation, a pair of conversations to compare, or the end."""
    evaluation = server.conversations.evaluation(slug)
    if server.study.settings.comprehension and not server.study.store.check(person, "dialogue")[1]:
        cases = [case for case, _ in comprehension.CASES["dialogue"]]
        return {"status": "check", "cases": cases, "progress": {"judged": 0, "available": 0}}
    current = server.conversations.next(person, evaluation)
    progress = server.conversations.progress(person, evaluation)
    shown = {"judged": progress.judged, "available": progress.available}
    match current:
        case None:
            return {"status": "finished", "progress": shown}
        case Pair():
            return {"status": "pair", "pair": _pair(server, current), "progress": shown}
        case _:
            return {
                "status": "conversation",
                "conversation": _conversation(server, person, evaluation, current),
                "progress": shown,
            }


def _conversation(
    server: Server, person: Person, evaluation: LiveEvaluation, conversation: Conversation
) -> dict[str, object]:
    exchanges = server.conversations.exchanges(conversation)
    waiting = bool(exchanges) and exchanges[-1].response is None
    reply = server.replies.current(conversation.id)
    if reply is not None and reply.turn != len(exchanges) - 1:
        reply = None
    running = waiting and reply is not None and reply.is_running
    failure = "" if running or not waiting else (reply.failure if reply else "") or INTERRUPTED
    return {
        "id": conversation.id,
        "opening": markdown.to_html(evaluation.openings[conversation.opening]),
        "exchanges": [_exchange(server, person, exchange) for exchange in exchanges],
        "running": running,
        "failure": failure,
        "most": server.conversations.settings.exchanges,
    }


def _exchange(server: Server, person: Person, exchange: Exchange) -> dict[str, object]:
    shown: dict[str, object] = {"turn": exchange.turn, "asked": markdown.to_html(exchange.asked)}
    if exchange.response is not None and exchange.assignment is not None:
        _, saved = server.study.store.assignment(exchange.assignment, person)
        shown |= {
            "response": markdown.to_html(exchange.response),
            "empty": not exchange.response.strip(),
            "version": saved.version if saved else 0,
            "value": saved.value if saved else None,
            "off_subject": bool(saved) and saved.reason == OFF_SUBJECT if saved else False,
            "comment": saved.comment if saved else "",
        }
    return shown


def _pair(server: Server, pair: Pair) -> dict[str, object]:
    return {
        "assignment": pair.assignment.id,
        "conversations": [
            [
                {"role": turn.role, "html": markdown.to_html(turn.content)}
                for turn in server.conversations.messages(each)
            ]
            for each in pair.conversations
        ],
    }
