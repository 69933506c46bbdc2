import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lima.parallel import process_pool
from lima.parallel.jobs import Ended, Restarted, Started

HERE = Path(__file__).parents[1]


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return tmp_path / "log"


def job(log: Path, name: str, **more: object) -> str:
    return json.dumps({"log": str(log), "name": name, **more})


def run(jobs: list[str], *, workers: int, retries: int = 0):
    events = list(process_pool.run("chores:done", jobs, workers=workers, retries=retries))
    return events, {event.job: event.reply for event in events if isinstance(event, Ended)}


def begun(log: Path) -> dict[str, int]:
    names = [line.split()[0] for line in log.read_text().splitlines()]
    return {name: names.count(name) for name in names}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_answered_whatever_the_order_in_which_they_end(log, workers):
    # the last one begins when another has ended: with three workers the first is not the first to end
    first = {"after": "last"} if workers > 1 else {}
    jobs = [job(log, "a", **first), job(log, "b"), job(log, "c"), job(log, "last")]
    events, replies = run(jobs, workers=workers)
    assert [json.loads(replies[number].result) for number in range(4)] == ["a", "b", "c", "last"]
    assert {event.job for event in events if isinstance(event, Started)} == {0, 1, 2, 3}
    ends = [event.job for event in events if isinstance(event, Ended)]
    assert (ends == [0, 1, 2, 3]) == (workers == 1)


@pytest.mark.parametrize(
    ("told", "jobs", "workers", "share"),
    # 6 // 2; never less than one; a job alone is done in this process, which has all; no more shares than jobs
    [("6", 4, 2, 3), ("2", 4, 3, 1), ("6", 1, 2, 6), ("6", 2, 4, 3), ("", 1, 1, len(os.sched_getaffinity(0)))],
)
def test_workers_share_the_cores_out(log, monkeypatch, told, jobs, workers, share):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    _, replies = run([job(log, str(number), threads=True) for number in range(jobs)], workers=workers)
    assert [json.loads(reply.result) for reply in replies.values()] == [share] * jobs


def test_the_job_of_a_killed_worker_is_done_again_and_no_other(log):
    jobs = [job(log, "a", seconds=0.3), job(log, "b", deaths=1), job(log, "c"), job(log, "d", seconds=0.3)]
    events, replies = run(jobs, workers=2, retries=1)
    assert [event for event in events if isinstance(event, Restarted)] == [Restarted(1, "by SIGKILL")]
    assert [json.loads(replies[number].result) for number in range(4)] == ["a", "b", "c", "d"]
    assert begun(log) == {"a": 1, "b": 2, "c": 1, "d": 1}


def test_a_job_that_kills_its_worker_each_time_is_given_up_and_the_others_are_done(log):
    _, replies = run([job(log, "a", deaths=9), job(log, "b"), job(log, "c")], workers=2, retries=2)
    # once and twice again
    assert begun(log) == {"a": 3, "b": 1, "c": 1}
    assert replies[0].user_error and "the worker was killed 3 times, last by SIGKILL" in replies[0].error
    assert [replies[number].error for number in (1, 2)] == ["", ""]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_told_with_its_words_a_fault_of_ours_with_its_traceback_and_the_rest_is_done(
    log, workers, monkeypatch
):
    jobs = [job(log, "a", unreadable=True), job(log, "b", broken=True), job(log, "c")]
    monkeypatch.syspath_prepend(HERE)
    _, replies = run(jobs, workers=workers)
    assert (replies[0].error, replies[0].user_error) == ("a cannot be read", True)
    assert replies[1].error.endswith("ZeroDivisionError: b\n") and not replies[1].user_error
    assert json.loads(replies[2].result) == "c"


def test_a_worker_that_cannot_start_is_an_error_with_its_exit_status(log, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    _, replies = run([job(log, "a"), job(log, "b")], workers=2)
    assert all("last with status 1" in reply.error for reply in replies.values())


def test_workers_end_with_whoever_gave_the_jobs_even_when_that_one_is_killed(log):
    jobs = [job(log, "a", seconds=600), job(log, "b", seconds=600)]
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    giver = subprocess.Popen([sys.executable, HERE / "chores.py", *jobs], env=os.environ | {"PYTHONPATH": path})
    until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
    workers = [int(line.split()[1]) for line in log.read_text().splitlines()]
    giver.send_signal(signal.SIGKILL)
    giver.wait()
    until(lambda: not any(alive(worker) for worker in workers))


def test_a_worker_takes_no_terminal_for_its_own_so_that_its_bars_do_not_cross_those_of_others(log):
    jobs = [job(log, name, screen=True) for name in ("a", "b")]
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    _, terminal = os.openpty()
    giver = [sys.executable, HERE / "chores.py", *jobs]
    done = subprocess.run(
        giver, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=terminal, text=True
    )
    assert done.stdout.count("result='false'") == 2


def until(true, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
