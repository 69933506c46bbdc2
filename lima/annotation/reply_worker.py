"""A process that loads the contestants of live conversations and streams their replies to the annotation server.

The server stays small and responsive, and a model that fails or runs out of memory does not end it.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Literal

from lima.annotation.contestant_replies import Reply
from lima.errors import LimaError
from lima.records import Turn

THREADS = 8  # replies of endpoints at once; those of one checkpoint wait for each other
OpenReplies = Callable[[], dict[str, Reply]]  # runs in the worker's process


class ReplyFailed(LimaError):
    """A contestant did not reply. The message is for the log; people see a message without names.

    Args:
        kind: name of the error's class, "Timeout", or "" if the process ended.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class ReplyRequest:
    number: int
    contestant: str
    messages: tuple[Turn, ...]
    conversation: str
    sample: int


@dataclass(frozen=True)
class ReplyEvent:
    """Sent by the worker: a piece of a response, its end, or the reason why there is none."""

    number: int
    kind: Literal["piece", "end", "failed"]
    text: str = ""
    error: str = ""  # name of the error's class


def run_worker(connection: Connection, open_replies: OpenReplies) -> None:
    """Answer requests until the connection is closed; the number of a request alone cancels its reply."""
    sending = threading.Lock()
    cancelled: set[int] = set()

    def send(event: ReplyEvent) -> None:
        with sending:
            connection.send(event)

    def answer(request: ReplyRequest) -> None:
        try:
            pieces = replies[request.contestant](request.messages, request.conversation, request.sample)
            for piece in pieces:
                if request.number in cancelled:
                    break
                send(ReplyEvent(request.number, "piece", piece))
            send(ReplyEvent(request.number, "end"))
        except Exception as error:  # a failed reply must not end the worker; the server reports it
            send(ReplyEvent(request.number, "failed", str(error), type(error).__name__))

    try:
        replies = open_replies()
    except LimaError as error:
        replies = {}
        print(f"live conversations: {error}", file=sys.stderr)
    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            try:
                received = connection.recv()
            except (EOFError, KeyboardInterrupt):
                return
            if isinstance(received, int):
                cancelled.add(received)
            elif received.contestant in replies:
                pool.submit(answer, received)
            else:
                send(ReplyEvent(received.number, "failed", f"contestant {received.contestant} is not available"))


class ReplyWorker:
    """Starts the process at the first request, and again after it has ended."""

    def __init__(self, open_replies: OpenReplies, *, timeout: float) -> None:
        """
        Args:
            open_replies: picklable.
            timeout: seconds without a piece, after which a reply fails.
        """
        self._open_replies = open_replies
        self._timeout = timeout
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._numbers = count()
        self._queues: dict[int, asyncio.Queue[ReplyEvent]] = {}

    async def reply(
        self, contestant: str, messages: Sequence[Turn], conversation: str, sample: int
    ) -> AsyncIterator[str]:
        """Yield the pieces of a response.

        Raises:
            ReplyFailed: the contestant failed, or sent nothing for `timeout` seconds.
        """
        connection = self._start()
        request = ReplyRequest(next(self._numbers), contestant, tuple(messages), conversation, sample)
        queue = self._queues[request.number] = asyncio.Queue()
        finished = False
        try:
            await asyncio.to_thread(_send, connection, request)
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), self._timeout)
                except TimeoutError as error:
                    message = f"{contestant}: no text for {self._timeout:g} s; raise annotation.conversations.timeout"
                    raise ReplyFailed(message, "Timeout") from error
                if event.kind == "piece":
                    yield event.text
                    continue
                finished = True
                if event.kind == "failed":
                    raise ReplyFailed(f"{contestant}: {event.error}: {event.text}", event.error)
                return
        finally:
            del self._queues[request.number]
            if not finished and self._connection is connection:
                _send(connection, request.number)

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.terminate()
            self._process.join()
            self._process = None

    def _start(self) -> Connection:
        if self._connection is not None and self._process is not None and self._process.is_alive():
            return self._connection
        context = get_context("spawn")
        here, there = context.Pipe()
        self._process = context.Process(target=run_worker, args=(there, self._open_replies), daemon=True)
        self._process.start()
        there.close()
        self._connection = here
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._receive, args=(here, loop), daemon=True).start()
        return here

    def _receive(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Pass the worker's events to the replies that wait for them, until the worker ends."""
        while True:
            try:
                event = connection.recv()
            except (EOFError, OSError):
                break
            if not _call(loop, self._deliver, event):
                return
        _call(loop, self._lost, connection)

    def _deliver(self, event: ReplyEvent) -> None:
        if queue := self._queues.get(event.number):
            queue.put_nowait(event)

    def _lost(self, connection: Connection) -> None:
        """The process has ended: every reply that it owes fails."""
        if self._connection is connection:
            self._connection = None
        for number, queue in self._queues.items():
            queue.put_nowait(ReplyEvent(number, "failed", "the process of the model ended"))


def _send(connection: Connection, content: ReplyRequest | int) -> None:
    try:
        connection.send(content)
    except OSError:
        return  # the process has ended; `_lost` reports it


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> bool:
    """Call a function in the event loop. Returns False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return False
    return True
