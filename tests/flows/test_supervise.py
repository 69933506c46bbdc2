"""A supervised command and what it started end with the process that started the supervisor, even by kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.supervise import group_runs, process

ROOT = Path(__file__).parents[2]
# saves on SIGTERM, as training does; started by a shell, as by DVC
WORKER = """
import os, pathlib, signal, sys, time
def save(*_):
    print("saving", flush=True)
    pathlib.Path("saved").write_text("state")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(600)
"""
# stands for a flow: starts the supervisor and waits, with the id of a worker to watch
FLOW = """
import subprocess, sys
subprocess.run([sys.executable, "-m", "flows.supervise", *sys.argv[1:]], stdout=subprocess.PIPE)
"""


def until(what, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture
def started(tmp_path):
    """Starts a flow that supervises a shell with a worker; returns the flow and the worker's id."""
    (tmp_path / "worker.py").write_text(WORKER)
    processes = []

    def start(*options: str) -> tuple[subprocess.Popen[bytes], int]:
        command = ["sh", "-c", f"{sys.executable} worker.py; echo"]
        line = [sys.executable, "-c", FLOW, *options, *command]
        flow = subprocess.Popen(line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
        processes.append(flow)
        pid = tmp_path / "pid"
        until(lambda: pid.exists() and pid.read_text())
        return flow, int(pid.read_text())

    yield start
    for flow in processes:
        flow.kill()
        flow.wait()


def test_worker_saves_and_ends_when_the_flow_is_killed(started, tmp_path):
    flow, worker = started()
    flow.kill()
    until(lambda: process(worker) is None)
    assert (tmp_path / "saved").read_text() == "state"


def test_worker_ends_when_a_watched_process_is_killed_whose_status_nobody_collected(started, tmp_path):
    watched = subprocess.Popen(["sleep", "600"])
    _, worker = started("--watch", str(watched.pid))
    watched.kill()  # a zombie until wait()
    until(lambda: process(worker) is None)
    assert (tmp_path / "saved").exists()
    watched.wait()


def test_worker_ends_when_only_the_command_is_killed(started, tmp_path):
    flow, worker = started()
    group = process(worker).group
    assert group == os.getpgid(worker) != os.getpgid(flow.pid)
    os.kill(group, signal.SIGKILL)  # the shell, which leads the group
    until(lambda: not group_runs(group))
    assert (tmp_path / "saved").exists()


def test_command_runs_on_while_all_watched_processes_do(started):
    _, worker = started("--watch", str(os.getpid()))
    time.sleep(1.5)  # three looks
    assert process(worker)


def test_exit_status_is_that_of_the_command():
    line = [sys.executable, "-m", "flows.supervise", "sh", "-c", "exit 7"]
    assert subprocess.run(line, cwd=ROOT, check=False).returncode == 7


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace():
    shell = 'trap "" TERM; kill -TERM $PPID; sleep 600 & wait; wait'
    code = f"from flows.supervise import supervise; print(supervise(['sh', '-c', {shell!r}], grace=0.5))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    message, status = done.stdout.splitlines()
    assert message == "SIGTERM; the stage is stopped, training saves its state; run it again to continue"
    assert status == "-9"
