"""The flows under Prefect: a real server, deployments, a worker, and runs started through the API."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest
from conftest import free_port
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_api import FINAL, answers, call

from flows import arm_runs

OUT = "data/scrape/stack_exchange_other"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def until(what, seconds: float, *, processes=()):
    """The first true answer of `what`; a process that ends before is an error with its words."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        for process, log in processes:
            assert process.poll() is None, f"{process.args} ended:\n{log.read_text()[-3000:]}"
        time.sleep(1)
    raise AssertionError(f"not within {seconds} s:\n" + "\n".join(log.read_text()[-3000:] for _, log in processes))


def end(process: subprocess.Popen) -> None:
    """Also one that does not end when it is asked to: what was to be seen has been seen by then."""
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def orchestrated(clone, tmp_path_factory):
    """A server, the deployment and a worker; gives the API's address, the clone and the processes."""
    place = tmp_path_factory.mktemp("prefect")
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    env |= {"PREFECT_HOME": str(place), "PREFECT_API_URL": api, "DO_NOT_TRACK": "1", "COLUMNS": "200"}
    env |= {"LIMA_CHECKOUT": str(clone)}  # as infra/worker.sh does
    env |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    prefect = [sys.executable, "-m", "prefect"]

    def start(name, *words):
        path = place / f"{name}.log"
        with path.open("w") as log:
            return subprocess.Popen([*prefect, *words], cwd=clone, env=env, stdout=log, stderr=subprocess.STDOUT), path

    def run(*words):
        done = subprocess.run([*prefect, *words], cwd=clone, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr

    subprocess.run([sys.executable, "-m", "lima.cli", "profile", "use", "ci"], cwd=clone, check=True)
    # flows check dvc.lock, if there is one
    subprocess.run([sys.executable, "-m", "dvc", "repro", "code"], cwd=clone, check=True, capture_output=True)
    processes = [start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))]
    try:
        until(lambda: answers(f"{api}/health"), 300, processes=processes)
        for pool in ("gpu", "arms"):
            run("work-pool", "create", pool, "--type", "process")
        run("--no-prompt", "deploy", "--prefect-file", "infra/prefect.yaml", "--all")
        processes.append(start("worker", "worker", "start", "--pool", "gpu", "--type", "process"))
        yield api, clone, processes
    finally:
        for process, _ in reversed(processes):  # the worker before the server, to which it says goodbye
            end(process)


def task_runs(orchestrated, name: str, parameters: dict[str, str]) -> list[str]:
    """The names of the task runs of a deployment's run, after it and they have completed."""
    api, _, processes = orchestrated
    deployment = call(f"{api}/deployments/name/{name}")
    asked = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
    started = call(f"{api}/deployments/{deployment['id']}/create_flow_run", asked)

    def ended():
        run = call(f"{api}/flow_runs/{started['id']}")
        return run if run["state_type"] in FINAL else None

    run = until(ended, 1200, processes=processes)
    logs = call(f"{api}/logs/filter", {"logs": {"flow_run_id": {"any_": [started["id"]]}}, "limit": 200})
    assert run["state_type"] == "COMPLETED", "\n".join(line["message"] for line in logs)
    tasks = call(f"{api}/task_runs/filter", {"flow_runs": {"id": {"any_": [started["id"]]}}, "limit": 50})
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    return sorted(task["name"] for task in tasks)


def up_to_date(clone: Path, *stage: str) -> bool:
    """Whether what Prefect started is what DVC itself would have done."""
    status = [sys.executable, "-m", "dvc", "status", *stage]
    return "up to date" in subprocess.run(status, cwd=clone, capture_output=True, text=True, check=True).stdout


def test_a_deployment_run_brings_every_stage_up_to_date_with_one_task_run_a_stage_and_key(orchestrated):
    _, clone, _ = orchestrated
    listed = subprocess.run(
        ["dvc", "stage", "list", "--name-only"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert task_runs(orchestrated, "reproduce/reproduce", {}) == sorted(listed.stdout.split())
    assert (clone / "reports/report.html").stat().st_size > 10_000
    metrics = json.loads((clone / "reports/metrics.json").read_text())
    assert set(metrics["arms"]) == {"lima"}
    assert up_to_date(clone)


def test_a_scrape_run_has_a_task_run_a_part_and_leaves_what_dvc_takes_for_its_own(orchestrated):
    _, clone, _ = orchestrated
    shutil.rmtree(clone / OUT, ignore_errors=True)
    parts = [f"{site}.example/Posts.xml" for site in ("cooking", "parenting", "travel", "woodworking")]
    names = task_runs(orchestrated, "scrape/scrape", {"source": "stack_exchange_other"})
    assert names == sorted([*parts, "english.example.7z"])
    assert up_to_date(clone, "scrape@stack_exchange_other")
    through_prefect = {path.name: path.read_bytes() for path in (clone / OUT).iterdir()}
    scrape = [sys.executable, "-m", "lima.stages.scrape", "stack_exchange_other"]
    subprocess.run(scrape, cwd=clone, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (clone / OUT).iterdir()} == through_prefect


@pytest.fixture
def client_of_server(orchestrated, monkeypatch):
    """Requests of flows.arm_runs, in this process; gives a function that sets the state of a flow run."""
    api, _, _ = orchestrated
    monkeypatch.setattr(arm_runs, "get_run_logger", lambda: logging.getLogger("flow"))
    monkeypatch.setattr(arm_runs, "INTERVAL", 0.1)

    def set_state(run_id, kind):
        body = {"state": {"type": kind}, "force": True}
        assert call(f"{api}/flow_runs/{run_id}/set_state", body)["status"] == "ACCEPT"

    with temporary_settings({PREFECT_API_URL: api}):
        yield set_state


def test_two_flows_get_the_same_run_of_an_arm_until_it_has_ended(client_of_server):
    with ThreadPoolExecutor(4) as flows:
        asked = [flows.submit(copy_context().run, arm_runs.unfinished, "lima", "c0ffee") for _ in range(4)]
        [run] = {run.result().id for run in asked}
    client_of_server(run, "CRASHED")
    assert arm_runs.unfinished("lima", "c0ffee").id != run


def test_a_run_of_an_arm_waits_for_one_that_started_earlier(orchestrated, client_of_server, monkeypatch, caplog):
    api, _, _ = orchestrated
    deployment = call(f"{api}/deployments/name/arm/arm")

    def running(arm):
        body = {"state": {"type": "RUNNING"}, "parameters": {"arm": arm}}
        return call(f"{api}/deployments/{deployment['id']}/create_flow_run", body)["id"]

    other, first, second = running("unfiltered"), running("lima"), running("lima")
    caplog.set_level(logging.INFO, logger="flow")
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", first)
    arm_runs.wait_for_earlier("lima")
    assert not caplog.messages
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", second)
    with ThreadPoolExecutor(1) as flow:
        waiting = flow.submit(copy_context().run, arm_runs.wait_for_earlier, "lima")
        until(lambda: any(f"waiting for flow run {first}" in line for line in caplog.messages), 300)
        assert not waiting.done()
        client_of_server(first, "COMPLETED")
        waiting.result(timeout=300)
    assert other not in caplog.text
