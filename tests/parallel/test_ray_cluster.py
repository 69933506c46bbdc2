"""The same jobs on a Ray cluster of two nodes on this machine, which listen on addresses of the loopback."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import free_port
from stages.generated_sites import checkout, finish, hold, result, scrape

from lima.errors import LimaError
from lima.parallel import ray_cluster

pytest.importorskip("ray")
HERE = Path(__file__).parents[1]
SCRIPT = """
import json, sys
from lima.parallel import ray_cluster
for event in ray_cluster.run("chores:done", sys.argv[1:], retries=1):
    print(event, flush=True)
"""


@pytest.fixture(scope="module")
def ray():
    """Two nodes of one core each; gives what the environment of a command must hold."""
    place = Path(tempfile.mkdtemp(prefix="ray-"))  # short: sockets lie in it
    address = f"127.0.0.2:{free_port()}"
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= quiet | {"PYTHONPATH": path}
    small = ["--num-cpus=1", "--object-store-memory=80000000", "--block"]
    head = ["--head", f"--port={address.split(':')[1]}", "--node-ip-address=127.0.0.2", f"--temp-dir={place}"]
    head += ["--include-dashboard=false", "--disable-usage-stats"]
    nodes = []
    try:
        for words in (head, [f"--address={address}", "--node-ip-address=127.0.0.3"]):
            with (place / f"node{len(nodes)}.log").open("w") as log:
                command = [Path(sys.executable).with_name("ray"), "start", *words, *small]
                nodes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True))
            until(lambda: answers(address), 300)
        until(lambda: all("Ray runtime started" in log.read_text() for log in place.glob("node?.log")), 300)
        yield quiet | {"RAY_ADDRESS": address, "PYTHONPATH": path}
    finally:
        for node in nodes:
            end(node)
        shutil.rmtree(place, ignore_errors=True)


def answers(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as caller:
        return caller.connect_ex((host, int(port))) == 0


def end(node: subprocess.Popen[bytes]) -> None:
    """All that a node started runs in its session."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.getsid(int(place.name)) == node.pid:
                os.kill(int(place.name), signal.SIGKILL)
    node.wait(timeout=120)


def until(true, seconds: float):
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_workers_job_is_done_again_and_no_other_on_two_nodes(ray, tmp_path):
    log = tmp_path / "log"
    names = {"a": {"seconds": 1}, "b": {"deaths": 1}, "c": {"unreadable": True}, "d": {"deaths": 9}, "e": {"broken": 1}}
    jobs = [json.dumps({"log": str(log), "name": name, **more}) for name, more in names.items()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *jobs], cwd=tmp_path, env=os.environ | ray, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    begun = [line.split()[0] for line in log.read_text().splitlines()]
    # b is killed once, d as often as it may be
    assert {name: begun.count(name) for name in names} == {"a": 1, "b": 2, "c": 1, "d": 2, "e": 1}
    told = {int(line.split("job=")[1].split(",")[0]): line for line in done.stdout.splitlines() if "Ended" in line}
    assert "'\"a\"'" in told[0] and "'\"b\"'" in told[1] and "c cannot be read" in told[2]
    assert "the worker was killed 2 times" in told[3] and "ZeroDivisionError" in told[4]
    assert done.stdout.count("Restarted(job=1, ") == done.stdout.count("Restarted(job=3, ") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scrape_gives_the_same_bytes_on_two_nodes_with_a_worker_killed_in_the_middle(ray, tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        checkout(tmp_path / name, sites=6, kilobytes=100, workers=1)
    assert finish(scrape(tmp_path / "here"))[0] == 0
    hold(tmp_path / "there", 2)
    process = scrape(tmp_path / "there", env=ray)
    os.kill(until(lambda: in_part(tmp_path / "there"), 300), signal.SIGKILL)
    tmp_path.joinpath("there/hold").unlink()
    status, _, err = finish(process)
    assert status == 0, err
    assert err.count("is retried: its worker was killed (WorkerCrashedError)") == 1
    assert result(tmp_path / "there") == result(tmp_path / "here")


def in_part(folder: Path) -> int | None:
    """A worker that is held in a part."""
    return next((int(mark.name.split("-")[-1]) for mark in folder.glob("in-part-*")), None)


def test_a_cluster_that_is_not_there_is_named_at_once(monkeypatch):
    monkeypatch.setenv(ray_cluster.ADDRESS, f"127.0.0.1:{free_port()}")
    with pytest.raises(
        LimaError, match=r"cannot connect to Ray at RAY_ADDRESS=127\.0\.0\.1:\d+: .*refused; start the cluster"
    ):
        list(ray_cluster.run("chores:done", ["{}"], retries=0))
