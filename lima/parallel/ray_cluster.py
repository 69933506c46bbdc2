"""The same jobs on the Ray cluster that RAY_ADDRESS names; a worker or node that dies costs its own jobs' work only.

Every node needs this environment, and has to see the checkout, with its dumps and work/, under the same path.
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
PATIENCE = 10  # seconds


def run(work: str, jobs: Sequence[str], *, retries: int) -> Generator[Event]:
    """Events in the order in which they happen; all jobs are given to Ray at once, which runs one a core."""
    import ray

    _knock(os.environ[ADDRESS])
    ray.init(address=os.environ[ADDRESS], log_to_driver=False, logging_level=logging.ERROR)
    try:
        do = ray.remote(max_retries=0, num_cpus=1)(_task(work))
        running = {do.remote(job): number for number, job in enumerate(jobs)}
        killed = Counter[int]()
        yield from map(Started, running.values())
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(ready)
            try:
                yield Ended(number, Reply.model_validate_json(ray.get(ready)))
                continue
            except ray.exceptions.RayTaskError as error:  # before the job began: this `lima` is not there, say
                yield Ended(number, Reply(result="", error=str(error), mendable=False))
                continue
            except ray.exceptions.RayError as error:
                why = f"({type(error).__name__})"
            killed[number] += 1
            if killed[number] > retries:
                yield Ended(number, gave_up(killed[number], why))
            else:
                running[do.remote(jobs[number])] = number
                yield Restarted(number, why)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ask whether anyone is there at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "auto", or another word of Ray's
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except OSError as error:
        raise LimaError(f"nobody answers at {ADDRESS}={address}: {error}; start the cluster, or unset it") from error


def _task(work: str) -> Callable[[str], str]:
    """What a node does for a job, after it has found the same `lima` as here."""
    root, folder = str(ROOT), str(Path.cwd())

    def task(job: str) -> str:
        if root not in sys.path:
            sys.path.insert(0, root)
        from pathlib import Path

        from lima.parallel.jobs import run_job

        return run_job(work, job, folder=Path(folder)).model_dump_json()

    return task
