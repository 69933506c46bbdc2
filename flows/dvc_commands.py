"""DVC commands for the Prefect flows. DVC runs the pipeline; Prefect only starts and displays it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from ruamel.yaml import YAML

from flows.checkout import RUN_ID
from flows.supervise import INTERVAL
from lima import dvc_files, locks, storage

T = TypeVar("T")
State = Literal["running", "done", "unchanged", "restored", "failed", "skipped"]
PATTERNS: dict[str, State] = {
    r"^Running stage '[^']+'": "running",
    r"^Stage '[^']+' didn't change, skipping": "unchanged",
    r"^Stage '[^']+' is cached - skipping run": "restored",
    r"failed to reproduce ('[^']+'(, | and )?)+": "failed",
    r"^(WARNING: )?Stages? .+ will be skipped due to this failure": "skipped",
}
UNREACHABLE = re.compile(r"could not connect|connection (refused|reset)|timed out|name resolution|unreachable", re.I)
WAITS = (10, 30, 60, 120)  # seconds before a command is repeated because the DVC remote did not answer
TAIL = 20  # last lines of a failed stage's output that the error repeats


class StageFailed(RuntimeError):
    """A DVC command failed. The message has its exit status and the end of its output."""


def stages(path: Path = Path("dvc.yaml")) -> list[str]:
    """Return the names of the stages, in the order of dvc.yaml."""
    return list(YAML(typ="safe").load(path)["stages"])


def commit(stage: str) -> None:
    """Record the current outputs of a stage as the result of its current inputs (`dvc commit`)."""
    with checkout_lock():
        done = subprocess.run(  # noqa: S603 - fixed words and a stage's name out of params.yaml, no shell
            [sys.executable, "-m", "dvc", "commit", "--force", stage], capture_output=True, text=True
        )
    if done.returncode:
        raise StageFailed(f"dvc commit {stage} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


@contextmanager
def checkout_lock() -> Iterator[None]:
    """Hold the lock of this checkout, in which one DVC command runs at a time; wait while another flow run holds it."""
    reported = False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(storage.exclusive("dvc"))
                break
            except locks.FolderInUse:
                if not reported and (holder := locks.holder(storage.WORK / "locks/dvc.lock")):
                    get_run_logger().warning("this checkout is in use, waiting until its DVC command ends: %s", holder)
                    reported = True
                time.sleep(INTERVAL)
        yield


def end_with_worker() -> None:
    """In a flow run that a worker started: send SIGTERM to this process when the worker ends, even by SIGKILL."""
    if RUN_ID in os.environ:
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(worker: int) -> None:
    while os.getppid() == worker:
        time.sleep(INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)


def supervised(command: list[str]) -> list[str]:
    """Return the command line that ends the command if this process, or the worker that started it, ends."""
    worker = ["--watch", str(os.getppid())] if RUN_ID in os.environ else []
    return [sys.executable, "-m", "flows.supervise", *worker, *command]


def output(*arguments: str) -> Iterator[str]:
    """Run a DVC command and yield the lines of its output.

    Raises:
        StageFailed: the exit status is not 0; raised after the last line.
    """
    # a worker started outside of the activated environment must find the environment's programs too
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    last: deque[str] = deque(maxlen=TAIL)
    with (
        checkout_lock(),
        subprocess.Popen(  # noqa: S603 - fixed words and names out of dvc.yaml and params.yaml, no shell
            supervised([sys.executable, "-m", "dvc", *arguments]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PATH": programs},
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                yield last[-1]
        except BaseException:  # a cancelled run
            process.terminate()  # training saves its state
            raise
    if process.returncode:
        raise StageFailed(f"dvc {' '.join(arguments)} ended with status {process.returncode}:\n" + "\n".join(last))


def log(*arguments: str) -> None:
    """Run a DVC command; its output goes to the log of the flow run."""
    for line in output(*arguments):
        get_run_logger().info("%s", line)


def repeated(command: Callable[[], T]) -> T:
    """Run a DVC command that reads or writes the remote; repeat it while the remote does not answer.

    Raises:
        StageFailed: the command failed for another reason, or after the last wait of WAITS.
    """
    for wait in WAITS:
        try:
            return command()
        except StageFailed as error:
            if not UNREACHABLE.search(str(error)):
                raise
            get_run_logger().warning("the DVC remote does not answer; asking again in %d s\n%s", wait, error)
            time.sleep(wait)
    return command()


@dataclass(frozen=True)
class Event:
    """What DVC reports about one stage."""

    address: str  # STAGE or STAGE@KEY
    state: State


def events(line: str) -> list[Event]:
    """Parse a line of `dvc repro`."""
    for pattern, state in PATTERNS.items():
        if found := re.search(pattern, line):
            return [Event(address, state) for address in re.findall(r"'([^']+)'", found[0])]
    return []


@task(cache_policy=NO_CACHE)
def stage(result: Future[State]) -> State:
    """Wait for a stage that `dvc repro` runs; fails if the stage fails or is skipped because of a failure."""
    state = result.result()
    if state in ("failed", "skipped"):
        raise StageFailed(f"the stage {state}; see the log of the flow run")
    return state


def repro(*arguments: str) -> dict[str, State]:
    """Run `dvc repro` once and show each stage and key as a task run; return their states.

    Raises:
        StageFailed: `dvc repro` failed. With `--keep-going`, failed stages are returned instead.
    """
    logger = get_run_logger()
    with checkout_lock():
        moved = dvc_files.repair()  # cut when a worker was killed
    for path in moved:
        logger.warning("invalid: %s, moved to %s; DVC restores finished stages from its cache", path, dvc_files.ASIDE)
    states: dict[str, State] = {}
    waiting: dict[str, Future[State]] = {}
    shown: list[PrefectFuture[State]] = []

    def show(event: Event) -> None:
        states[event.address] = event.state
        if event.address not in waiting:
            waiting[event.address] = Future()
            shown.append(stage.with_options(task_run_name=event.address).submit(waiting[event.address]))
        if event.state != "running" and not waiting[event.address].done():
            waiting[event.address].set_result(event.state)

    def finish(state: State, *, but: str = "") -> None:
        for address in [address for address, reached in states.items() if reached == "running" and address != but]:
            show(Event(address, state))

    try:
        for line in output("repro", *arguments):
            logger.info("%s", line)
            for event in events(line):
                finish("done", but=event.address)  # DVC runs one stage at a time
                if states.get(event.address) != "failed":
                    show(event)
        finish("done")
    except StageFailed:
        finish("failed")
        if "--keep-going" not in arguments or "failed" not in states.values():
            raise
    finally:
        for result in waiting.values():
            result.cancel()  # no effect on finished ones
        for run in shown:
            run.wait()
    return states
