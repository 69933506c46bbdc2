"""Two works beside each other on a machine whose speed drifts while either of them runs."""

import os
import signal
import time
from collections.abc import Callable
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np

SLICE = 0.1  # seconds


def in_slices(ours: Callable[[], object], peer: Callable[[], object], *, times: int) -> tuple[float, float]:
    """Seconds that each takes once, of `times` times ours and as many of the peer's as fall into the same seconds.

    Each is repeated in a process of its own. One process runs for a time slice while the other is paused.
    """
    sides = [_Side(work) for work in (ours, peer)]
    mine, other = sides
    try:
        for side in cycle(sides):
            side.run(SLICE)
            if len(mine.ends) > times and other.ends[-1] >= mine.ends[times]:
                break
    finally:
        for side in sides:
            side.end()
    done = np.interp(mine.ends[times], other.ends, np.arange(len(other.ends)))
    return mine.ends[times] / times, float(mine.ends[times] / done)


class _Side:
    """A process and all that it starts, which stand still but for the slices that it is given."""

    def __init__(self, work: Callable[[], object]) -> None:
        context = get_context("fork")  # which takes any function
        self._told, telling = context.Pipe(duplex=False)
        self._process = context.Process(target=_repeat, args=(work, telling))
        self._process.start()
        telling.close()
        self._told.recv_bytes()
        self._signal(signal.SIGSTOP)
        self._spent = 0.0  # seconds in slices
        self.ends = [0.0]  # when the work was done, in seconds of `_spent`

    def run(self, seconds: float) -> None:
        """Raises RuntimeError where the work failed."""
        start = time.perf_counter()
        self._signal(signal.SIGCONT)
        while (left := start + seconds - time.perf_counter()) > 0:
            if self._told.poll(left):
                try:
                    self._told.recv_bytes()
                except EOFError as error:
                    raise RuntimeError("the work failed; its traceback is above") from error
                self.ends.append(self._spent + time.perf_counter() - start)
        self._signal(signal.SIGSTOP)
        self._spent += time.perf_counter() - start

    def end(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.join()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.pid
        os.killpg(self._process.pid, number)


def _repeat(work: Callable[[], object], telling: Connection) -> None:
    os.setpgid(0, 0)
    telling.send_bytes(b"ready")
    while True:
        work()
        telling.send_bytes(b"done")
