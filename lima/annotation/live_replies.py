"""Replies that are being written in live conversations: they continue if the person's connection breaks."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lima.annotation.conversations import Conversation, Conversations
from lima.annotation.reply_worker import ReplyFailed
from lima.annotation.store import Person
from lima.records import Turn

FAILURES = {
    "ContextFull": "The conversation is too long for the model. End it.",
    "Timeout": "The model did not answer in time. Your message is saved; try again.",
    "": "The model could not answer. Your message is saved; try again.",
}


class Replies(Protocol):
    """A source of replies, such as ReplyWorker."""

    def reply(
        self, contestant: str, messages: Sequence[Turn], conversation: str, sample: int
    ) -> AsyncIterator[str]: ...

    def close(self) -> None: ...


@dataclass
class LiveReply:
    """One response in progress."""

    turn: int
    text: str = ""
    finished: bool = False  # stored on disk
    failure: str = ""  # message for the person
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    @property
    def is_running(self) -> bool:
        return not self.finished and not self.failure

    def notify(self) -> None:
        """Wake everyone who follows."""
        self.changed.set()
        self.changed = asyncio.Event()


class LiveReplies:
    """The responses in progress, by conversation."""

    def __init__(self, conversations: Conversations, source: Replies | None, *, stored: Callable[[], object]) -> None:
        """
        Args:
            stored: called after a response is on disk.
        """
        self._conversations = conversations
        self._source = source
        self._stored = stored
        self._current: dict[str, LiveReply] = {}

    def current(self, conversation: str) -> LiveReply | None:
        return self._current.get(conversation)

    def start(self, person: Person, conversation: Conversation, turn: int, attempt: int) -> LiveReply:
        """Request the response to the person's last turn, unless it is in progress."""
        known = self._current.get(conversation.id)
        if known and known.turn == turn and (known.is_running or known.finished):
            return known
        reply = self._current[conversation.id] = LiveReply(turn)
        reply.task = asyncio.create_task(self._run(reply, person, conversation, attempt))
        return reply

    async def follow(self, reply: LiveReply, interval: float) -> AsyncIterator[LiveReply]:
        """Yield the reply whenever it has changed, at most once per `interval`, and at least every ten intervals."""
        while True:
            changed = reply.changed
            yield reply
            if not reply.is_running:
                return
            await asyncio.sleep(interval)
            try:
                await asyncio.wait_for(changed.wait(), 10 * interval)
            except TimeoutError:
                continue  # the connection is checked by sending the reply again

    async def close(self) -> None:
        tasks = [reply.task for reply in self._current.values() if reply.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._source is not None:
            self._source.close()

    async def _run(self, reply: LiveReply, person: Person, conversation: Conversation, attempt: int) -> None:
        assert self._source is not None, "an evaluation with live conversations needs a source of replies"
        try:
            messages = await asyncio.to_thread(self._conversations.messages, conversation)
            # the same random numbers for every person would give them the same response
            identity = f"{person.pseudonym}/{conversation.opening}"
            async for piece in self._source.reply(conversation.contestant, messages, identity, attempt):
                reply.text += piece
                reply.notify()
            await asyncio.to_thread(self._conversations.record_response, person, conversation, reply.turn, reply.text)
            self._stored()
            reply.finished = True
        except ReplyFailed as error:
            print(f"live conversations: {error}", file=sys.stderr, flush=True)
            reply.failure = FAILURES.get(error.kind, FAILURES[""])
        except Exception as error:
            print(f"live conversations: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            reply.failure = FAILURES[""]
        finally:
            reply.notify()
