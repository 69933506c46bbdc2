"""Jobs done in processes of this machine, several at once; a worker that is killed costs its own job's work only.

A worker is `python -m lima.parallel.process_pool MODULE:FUNCTION`. It reads a job a line, writes a `Reply` a line, and
ends when its parent ends, even if the parent was killed.
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
    """Events in the order in which they happen; a single worker, or a single job, is this process itself."""
    if min(workers, len(jobs)) <= 1:
        for number, job in enumerate(jobs):
            yield Started(number)
            yield Ended(number, run_job(work, job, folder=Path.cwd()))
        return
    share = max(1, threads() // min(workers, len(jobs)))
    waiting, killed = deque(range(len(jobs))), Counter[int]()
    idle: list[Worker] = []
    busy: dict[Worker, int] = {}
    # the workers' temporary files are removed here, since a worker that is killed leaves its own
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
    """A worker that is dead already is told by the end of its answers."""
    assert worker.stdin is not None
    line = memoryview(job.encode() + b"\n")
    try:
        while line:
            line = line[worker.stdin.write(line) :]
    except BrokenPipeError:
        return


def _reply(worker: Worker) -> Reply | None:
    """None where the worker died, in the middle of its answer or before."""
    assert worker.stdout is not None
    line = worker.stdout.readline()
    return Reply.model_validate_json(line) if line.endswith(b"\n") else None


def _end(worker: Worker) -> str:
    """Wait for its end; says how it ended."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.close()
    worker.stdout.close()
    status = worker.wait()
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def _serve(work: str) -> None:
    """A worker's life; what its libraries print goes to standard error, since its output carries answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stderr = _Plain(os.fdopen(2, "wb", closefd=False), line_buffering=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever gave the jobs
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    jobs = SimpleQueue[str]()
    Thread(target=_take, args=(jobs,), daemon=True).start()
    while True:
        answers.write(run_job(work, jobs.get(), folder=Path.cwd()).model_dump_json().encode() + b"\n")
        answers.flush()


class _Plain(io.TextIOWrapper):
    """Standard error of one worker among others: no place for a bar, which belongs to whoever gave the jobs."""

    def isatty(self) -> bool:
        return False


def _take(jobs: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # whoever gave the jobs has no more, or is dead


if __name__ == "__main__":
    _serve(*sys.argv[1:])
