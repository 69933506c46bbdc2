"""DVC commands for the Prefect flows. DVC runs the pipeline; Prefect only starts and displays it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from prefect import get_run_logger, task
from ruamel.yaml import YAML

from flows.supervise import INTERVAL

RUN_ID = "PREFECT__FLOW_RUN_ID"  # set by a worker for the process of a flow run
TAIL = 20  # last lines of a failed stage's output that the error repeats


class StageFailed(RuntimeError):
    """A DVC command failed. The message has its exit status and the end of its output."""


def stages(path: Path = Path("dvc.yaml")) -> list[str]:
    """Return the names of the stages, in the order of dvc.yaml."""
    return list(YAML(typ="safe").load(path)["stages"])


def commit(stage: str) -> None:
    """Record the current outputs of a stage as the result of its current inputs (`dvc commit`)."""
    done = subprocess.run(  # noqa: S603 - fixed words and a stage's name out of params.yaml, no shell
        [sys.executable, "-m", "dvc", "commit", "--force", stage], capture_output=True, text=True
    )
    if done.returncode:
        raise StageFailed(f"dvc commit {stage} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


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


@task
def repro(stage: str) -> None:
    """Run `dvc repro STAGE` (a foreach stage with all its keys) and log its output line by line."""
    logger = get_run_logger()
    # a worker started outside of the activated environment must find the environment's programs too
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    last: deque[str] = deque(maxlen=TAIL)
    with subprocess.Popen(  # noqa: S603 - fixed words and a stage's name out of dvc.yaml, no shell
        supervised([sys.executable, "-m", "dvc", "repro", stage]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": programs},
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                logger.info("%s", last[-1])
        except BaseException:  # a cancelled run
            process.terminate()  # training saves its state
            raise
    if process.returncode:
        raise StageFailed(f"dvc repro {stage} ended with status {process.returncode}:\n" + "\n".join(last))
