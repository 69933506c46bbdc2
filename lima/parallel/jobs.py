"""Jobs done several at once, wherever: what is told of each while they run, and how one is answered.

A job and its result are a line of JSON, and the work is named MODULE:FUNCTION, so that a process of its own, or another
machine, finds it by itself; nothing is pickled. What becomes of one job does not touch the others.
"""

import os
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from lima.errors import LimaError, file_fault
from lima.records import Record

ROOT = Path(__file__).resolve().parents[2]  # where this `lima` is imported from; workers import the same
THREADS = "OMP_NUM_THREADS"  # how many a process may use, as many libraries understand it; Ray sets it for its tasks


class Reply(Record):
    """What a worker answers."""

    result: str  # "" where the job failed
    error: str  # "" where it did not; else the words for a user, or a traceback
    mendable: bool  # by a user


@dataclass(frozen=True)
class Started:
    job: int  # its place among the jobs


@dataclass(frozen=True)
class Restarted:
    """The job's worker was killed, and the job is to be done again."""

    job: int
    why: str


@dataclass(frozen=True)
class Ended:
    job: int
    reply: Reply


Event = Started | Restarted | Ended


def threads() -> int:
    """How many this process may use: its share of the cores where others work beside it, else all of them."""
    told = os.environ.get(THREADS, "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_job(work: str, job: str, *, folder: Path) -> Reply:
    """Do one job in this process, started in `folder`."""
    if not folder.is_dir():
        error = (
            f"{os.uname().nodename} has no {folder}; put the checkout, its dumps and work/ where every node sees them"
        )
        return Reply(result="", error=error, mendable=True)
    os.chdir(folder)
    module, _, function = work.partition(":")
    try:
        return Reply(result=getattr(import_module(module), function)(job), error="", mendable=True)
    except LimaError as error:
        return Reply(result="", error=str(error), mendable=True)
    except OSError as error:
        fault = file_fault(error)
        return Reply(result="", error=fault or traceback.format_exc(), mendable=fault is not None)
    except Exception:  # told whole, and raised again where the jobs were given
        return Reply(result="", error=traceback.format_exc(), mendable=False)


def gave_up(times: int, why: str) -> Reply:
    """Of a job whose worker was killed as often as it may be."""
    error = f"its worker was killed {times} times, at last {why}; if memory is short, let fewer work at a time"
    return Reply(result="", error=error, mendable=True)
