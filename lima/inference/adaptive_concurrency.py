"""Adaptive concurrency limit: additive increase, multiplicative decrease (AIMD), as in TCP congestion control.

The limit starts low and doubles with each round of requests until the server is overloaded for the first time (slow
start). Afterwards each window of requests with few overloads adds a sixteenth of the maximum, and an overloaded window
halves the limit. A few overloads within a window are tolerated, since servers also fail at random.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from lima.errors import LimaError

START = 8  # concurrent requests before the first response
SMALLEST_WINDOW = 8  # responses
TOLERATED = 0.1  # share of overloads in a window that is not a sign of too many requests
DECREASE = 0.5
STEPS = 16  # additive increases from 0 to the maximum


class AdaptiveLimit:
    """Slots for concurrent requests, assigned in the order of arrival.

    Args:
        most: greatest number of slots.
        sleep: waits for seconds.
    """

    def __init__(self, most: int, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._most = most
        self._limit = float(min(START, most))
        self._slow_start = True
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._window = 0  # number of decreases; responses to requests of an earlier window are not counted
        self._responses = 0  # in this window
        self._overloads = 0
        self._sleep = sleep
        self._pauses: set[asyncio.Task[None]] = set()  # while there is one, no slot is assigned
        self._error: LimaError | None = None
        self._closed = asyncio.Event()

    @property
    def limit(self) -> int:
        return int(self._limit)

    async def acquire(self) -> int:
        """Wait for a slot. Returns the current window, for `release`.

        Raises:
            LimaError: the error with which `close` was called.
        """
        self.check()
        if self._waiting or not self._is_free():
            slot = asyncio.get_running_loop().create_future()
            self._waiting.append(slot)
            try:
                await slot
            except asyncio.CancelledError:
                if slot.done() and not slot.cancelled() and not slot.exception():
                    self._active -= 1
                    self._assign()
                raise
            if self._error:  # closed after the slot was assigned
                self._active -= 1
                raise self._error
        else:
            self._active += 1
        return self._window

    def release(self, window: int, *, overloaded: bool, pause: float = 0.0) -> None:
        """Return a slot with the outcome of its request.

        Args:
            window: as returned by `acquire`.
            overloaded: the server rejected the request because of its load or a rate limit.
            pause: seconds for which an overloaded server asked to wait.
        """
        self._active -= 1
        if window == self._window:
            self._responses += 1
            self._overloads += overloaded
            self._adapt(overloaded, pause)
        self._assign()

    def cancel(self) -> None:
        """Return a slot without an outcome."""
        self._active -= 1
        self._assign()

    def close(self, error: LimaError) -> None:
        """Assign no more slots; waiting and later requests raise the error."""
        if self._error:
            return
        self._error = error
        self._closed.set()
        for pause in self._pauses:
            pause.cancel()
        for slot in self._waiting:
            if not slot.done():
                slot.set_exception(error)
        self._waiting.clear()

    def check(self) -> None:
        """Raise the error with which `close` was called, if it was."""
        if self._error:
            raise self._error

    async def closed(self) -> None:
        """Wait for `close`."""
        await self._closed.wait()

    def _adapt(self, overloaded: bool, pause: float) -> None:
        size = max(self.limit, SMALLEST_WINDOW)
        if self._overloads > max(1.0, TOLERATED * size):
            self._limit = max(1.0, self._limit * DECREASE)
            self._slow_start = False
            self._start_window()
            self._pause(pause)
        elif self._slow_start:
            self._limit = min(self._most, self._limit + (not overloaded))
            if self._responses >= size:
                self._start_window(keep_earlier=True)
        elif self._responses >= size:
            self._limit = min(self._most, self._limit + max(1.0, self._most / STEPS))
            self._start_window(keep_earlier=True)

    def _start_window(self, *, keep_earlier: bool = False) -> None:
        self._responses = self._overloads = 0
        self._window += not keep_earlier

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._pauses.add(asyncio.ensure_future(self._sleep_and_resume(seconds)))

    async def _sleep_and_resume(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._pauses -= {task for task in self._pauses if task is asyncio.current_task()}
        self._assign()

    def _is_free(self) -> bool:
        return self._active < self.limit and not self._pauses

    def _assign(self) -> None:
        while self._waiting and self._is_free():
            slot = self._waiting.popleft()
            if not slot.done():
                self._active += 1
                slot.set_result(None)
