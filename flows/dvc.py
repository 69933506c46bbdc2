"""What flows ask of DVC: bring a stage up to date, which is a task, or take its outputs as they are.

The pipeline is DVC's; Prefect only starts and shows it.
"""

import os
import subprocess
import sys
from collections import deque
from pathlib import Path

from prefect import get_run_logger, task
from ruamel.yaml import YAML

TAIL = 20  # lines of a failed stage's output that its error repeats


class StageFailed(RuntimeError):
    """A command of DVC for a stage ended with another status than 0; says which, and the end of what it printed."""


def stages(path: Path = Path("dvc.yaml")) -> list[str]:
    """The stages in the order in which dvc.yaml, the picture of the pipeline, lists them."""
    return list(YAML(typ="safe").load(path)["stages"])


def commit(stage: str) -> None:
    """Have DVC take the outputs of a stage as they are for the result of its present inputs."""
    done = subprocess.run(  # noqa: S603 - fixed words and a stage's name out of params.yaml, no shell
        [sys.executable, "-m", "dvc", "commit", "--force", stage], capture_output=True, text=True
    )
    if done.returncode:
        raise StageFailed(f"dvc commit {stage} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


@task
def repro(stage: str) -> None:
    """Run `dvc repro STAGE`, a foreach stage with all its keys, and log its output line by line."""
    logger = get_run_logger()
    # a worker that was not started from the activated environment still finds this one's programs
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    last: deque[str] = deque(maxlen=TAIL)
    with subprocess.Popen(  # noqa: S603 - fixed words and a stage's name out of dvc.yaml, no shell
        [sys.executable, "-m", "dvc", "repro", stage],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": programs},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.rstrip())
            logger.info("%s", last[-1])
    if process.returncode:
        raise StageFailed(f"dvc repro {stage} ended with status {process.returncode}:\n" + "\n".join(last))
