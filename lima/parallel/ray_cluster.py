"""Run jobs on the Ray cluster at RAY_ADDRESS, with retries for jobs whose worker or node dies.

Every node needs the same Python environment, and access to the checkout, its dumps and work/ under the same path.
"""

import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from lima.errors import LimaError
from lima.parallel.jobs import ROOT, Ended, Event, Reply, Restarted, Started, gave_up

ADDRESS = "RAY_ADDRESS"
TIMEOUT = 10  # seconds, of the connection test


def run(work: str, jobs: Sequence[str], *, retries: int) -> Generator[Event]:
    """Yield events in chronological order. All jobs are submitted at once; Ray runs one per core."""
    import ray

    _check_reachable(os.environ[ADDRESS])
    ray.init(address=os.environ[ADDRESS], log_to_driver=False, logging_level=logging.ERROR)
    try:
        task = ray.remote(max_retries=0, num_cpus=1)(_task(work))
        running = {task.remote(job): number for number, job in enumerate(jobs)}
        killed = Counter[int]()
        yield from map(Started, running.values())
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(ready)
            try:
                yield Ended(number, Reply.model_validate_json(ray.get(ready)))
                continue
            except ray.exceptions.RayTaskError as error:  # raised before the job started: `lima` not importable
                yield Ended(number, Reply(result="", error=str(error), user_error=False))
                continue
            except ray.exceptions.RayError as error:
                why = f"({type(error).__name__})"
            killed[number] += 1
            if killed[number] > retries:
                yield Ended(number, gave_up(killed[number], why))
            else:
                running[task.remote(jobs[number])] = number
                yield Restarted(number, why)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Test a TCP connection to HOST:PORT, since Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "auto" or another keyword of Ray
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()
    except OSError as error:
        raise LimaError(
            f"cannot connect to Ray at {ADDRESS}={address}: {error}; start the cluster or unset {ADDRESS}"
        ) from error


def _task(work: str) -> Callable[[str], str]:
    """Return the function that a node runs for a job; it imports the same `lima` as this process."""
    root, folder = str(ROOT), str(Path.cwd())

    def task(job: str) -> str:
        if root not in sys.path:
            sys.path.insert(0, root)
        from pathlib import Path

        from lima.parallel.jobs import run_job

        return run_job(work, job, folder=Path(folder)).model_dump_json()

    return task
