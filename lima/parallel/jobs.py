"""Messages exchanged with parallel workers: job, progress events, result.

A job and its result are JSON strings, and the work is named MODULE:FUNCTION, so that a worker process or another
machine can import it; nothing is pickled. A failed job does not affect the others.
"""

import os
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from lima.errors import LimaError, file_fault
from lima.records import Record

ROOT = Path(__file__).resolve().parents[2]  # the folder that `lima` is imported from; workers import the same one
THREADS = "OMP_NUM_THREADS"  # maximum threads of a process, read by many libraries; Ray sets it for its tasks


class Reply(Record):
    """A worker's result."""

    result: str  # "" if the job failed
    error: str  # "" if the job succeeded; else a message for the user, or a traceback
    user_error: bool  # whether `error` is a message for the user


@dataclass(frozen=True)
class Started:
    job: int  # index into the jobs


@dataclass(frozen=True)
class Restarted:
    """The job's worker was killed; the job is retried."""

    job: int
    why: str


@dataclass(frozen=True)
class Ended:
    job: int
    reply: Reply


Event = Started | Restarted | Ended


def threads() -> int:
    """Number of threads this process may use: OMP_NUM_THREADS if set, else the number of available cores."""
    limit = os.environ.get(THREADS, "")
    if limit.isdecimal() and int(limit):
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_job(work: str, job: str, *, folder: Path) -> Reply:
    """Run one job in this process, with `folder` as the working directory. Errors are returned, not raised."""
    if not folder.is_dir():
        error = (
            f"{folder} not found on {os.uname().nodename}; put the checkout, its dumps and work/ on a file system that "
            "every node mounts"
        )
        return Reply(result="", error=error, user_error=True)
    os.chdir(folder)
    module, _, function = work.partition(":")
    try:
        return Reply(result=getattr(import_module(module), function)(job), error="", user_error=True)
    except LimaError as error:
        return Reply(result="", error=str(error), user_error=True)
    except OSError as error:
        fault = file_fault(error)
        return Reply(result="", error=fault or traceback.format_exc(), user_error=fault is not None)
    except Exception:  # the process that submitted the jobs raises it again, with this traceback
        return Reply(result="", error=traceback.format_exc(), user_error=False)


def gave_up(times: int, why: str) -> Reply:
    """The reply for a job whose worker was killed more often than retries allow."""
    error = f"the worker was killed {times} times, last {why}; if memory is short, use fewer workers"
    return Reply(result="", error=error, user_error=True)
