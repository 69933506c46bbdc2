"""Process pool for jobs, with retries for jobs whose worker is killed.

A worker is `python -m lima.parallel.process_pool MODULE:FUNCTION`. It reads one job per line, writes one `Reply` per
line, and exits when its parent ends, even if the parent was killed.
"""

import io
import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Generator, Sequence
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread

from lima.parallel.jobs import ROOT, THREADS, Ended, Event, Reply, Restarted, Started, gave_up, run_job, threads

Worker = subprocess.Popen[bytes]


def run(work: str, jobs: Sequence[str], *, workers: int, retries: int) -> Generator[Event]:
    """Yield events in chronological order. With one worker or one job, everything runs in this process."""
    if min(workers, len(jobs)) <= 1:
        for number, job in enumerate(jobs):
            yield Started(number)
            yield Ended(number, run_job(work, job, folder=Path.cwd()))
        return
    share = max(1, threads() // min(workers, len(jobs)))
    waiting, killed = deque(range(len(jobs))), Counter[int]()
    idle: list[Worker] = []
    busy: dict[Worker, int] = {}
    # shared temporary folder, removed here, since a killed worker does not remove its files
    with selectors.DefaultSelector() as answers, TemporaryDirectory(prefix="lima-") as temporary:
        try:
            while waiting or busy:
                while waiting and len(busy) < workers:
                    number = waiting.popleft()
                    worker = idle.pop() if idle else _start(work, answers, share, temporary)
                    busy[worker] = number
                    _give(worker, jobs[number])
                    yield Started(number)
                for key, _ in answers.select():
                    worker = key.data
                    number = busy.pop(worker)
                    if reply := _reply(worker):
                        idle.append(worker)
                        yield Ended(number, reply)
                        continue
                    answers.unregister(key.fileobj)
                    why = _end(worker)
                    killed[number] += 1
                    if killed[number] > retries:
                        yield Ended(number, gave_up(killed[number], why))
                    else:
                        waiting.appendleft(number)
                        yield Restarted(number, why)
        finally:
            for worker in [*idle, *busy]:
                worker.kill()
                _end(worker)


def _start(work: str, answers: selectors.BaseSelector, share: int, temporary: str) -> Worker:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Ctrl-C reaches the whole process group: a worker inherits SIGINT blocked, until it ignores it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        worker = subprocess.Popen(  # noqa: S603 - fixed words and the name of a function, no shell
            [sys.executable, "-m", "lima.parallel.process_pool", work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": path, THREADS: str(share), "TMPDIR": temporary},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert worker.stdout is not None
    answers.register(worker.stdout, selectors.EVENT_READ, worker)
    return worker


def _give(worker: Worker, job: str) -> None:
    """Send a job to a worker. A dead worker is detected when its reply is read."""
    assert worker.stdin is not None
    line = memoryview(job.encode() + b"\n")
    try:
        while line:
            line = line[worker.stdin.write(line) :]
    except BrokenPipeError:
        return


def _reply(worker: Worker) -> Reply | None:
    """Read a worker's reply; None if the worker died before it was complete."""
    assert worker.stdout is not None
    line = worker.stdout.readline()
    return Reply.model_validate_json(line) if line.endswith(b"\n") else None


def _end(worker: Worker) -> str:
    """Wait until a worker ends; return how it ended."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.close()
    worker.stdout.close()
    status = worker.wait()
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def _serve(work: str) -> None:
    """Main loop of a worker. Output of libraries goes to stderr, since stdout carries the replies."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stderr = _Plain(os.fdopen(2, "wb", closefd=False), line_buffering=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    jobs = SimpleQueue[str]()
    Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        answers.write(run_job(work, jobs.get(), folder=Path.cwd()).model_dump_json().encode() + b"\n")
        answers.flush()


class _Plain(io.TextIOWrapper):
    """stderr of a worker: not a terminal, so that libraries show no progress bars; the parent shows one."""

    def isatty(self) -> bool:
        return False


def _read_jobs(jobs: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # the parent has no more jobs, or is dead


if __name__ == "__main__":
    _serve(*sys.argv[1:])
