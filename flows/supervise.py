"""Run a command that ends when the process that started it ends, even by SIGKILL (Linux).

    python -m flows.supervise [--watch PID]… COMMAND…

The command runs in a process group of its own. If the supervisor's parent or a watched process ends, or the supervisor
receives SIGTERM, SIGINT or SIGHUP, the group receives SIGTERM, so that training saves its state, and SIGKILL after
GRACE seconds. The group also ends if only the command is killed and processes that it started remain.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

INTERVAL = 0.5  # seconds between two looks at the processes
GRACE = 600.0  # seconds from SIGTERM to SIGKILL; a large model takes minutes to save its state
PROC = Path("/proc")


class Process(NamedTuple):
    group: int  # process group
    started: int  # clock ticks since the machine started; tells a process from a later one with the same id


def process(pid: int) -> Process | None:
    """Read a process from /proc; None if it has ended, also if its parent has not collected its status yet."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(group=int(fields[2]), started=int(fields[19]))


def group_runs(group: int) -> bool:
    found = (process(int(path.name)) for path in PROC.iterdir() if path.name.isdigit())
    return any(member is not None and member.group == group for member in found)


def supervise(command: Sequence[str], *, watch: Sequence[int] = (), grace: float = GRACE) -> int:
    """Run a command and return its exit status, as subprocess reports it.

    Args:
        command: Program and arguments.
        watch: Ids of processes whose end stops the command, in addition to the parent of this process.
        grace: Seconds from SIGTERM to SIGKILL.
    """
    stop: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: stop.append(signal.Signals(received).name))
    watched = {pid: process(pid) for pid in (os.getppid(), *watch)}
    child = subprocess.Popen(  # noqa: S603 - the flow's own command, no shell
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert child.stdout is not None
    copying = threading.Thread(target=_copy, args=(child.stdout.fileno(),), daemon=True)
    copying.start()
    try:
        return _wait(child, watched, stop, grace)
    finally:
        copying.join(INTERVAL)


def _wait(child: subprocess.Popen[bytes], watched: Mapping[int, Process | None], stop: list[str], grace: float) -> int:
    while True:
        try:
            status = child.wait(INTERVAL)
            break
        except subprocess.TimeoutExpired:
            stop += [f"process {pid} ended" for pid, begun in watched.items() if begun is None or process(pid) != begun]
        if stop:
            _write(f"{stop[0]}; the stage is stopped, training saves its state; run it again to continue\n".encode())
            _end(child.pid, grace)
            return child.wait()
    _end(child.pid, grace)  # processes that the command left behind
    return status


def _end(group: int, grace: float) -> None:
    deadline = time.monotonic() + grace
    number: signal.Signals | None = signal.SIGTERM
    while group_runs(group):
        try:
            if number is not None:
                os.killpg(group, number)
        except ProcessLookupError:
            return
        number = signal.SIGKILL if time.monotonic() > deadline else None
        time.sleep(INTERVAL / 5)


def _copy(source: int) -> None:
    """Copy the command's output, also when the reader has ended: training must not fail before it has saved."""
    while data := os.read(source, 1 << 16):
        _write(data)


def _write(data: bytes) -> None:
    with suppress(BrokenPipeError):  # the flow, which reads, has ended
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]


def main(arguments: Sequence[str]) -> int:
    watch: list[int] = []
    rest = list(arguments)
    while rest[:1] == ["--watch"]:
        watch.append(int(rest[1]))
        del rest[:2]
    status = supervise(rest, watch=watch)
    return 128 - status if status < 0 else status  # as shells report a signal


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
