"""The flow `ablations` on real servers: two workers with clones of their own and six arms, through three faults.

A worker is killed in training, the database is stopped for a minute, and Prefect's server is restarted. The test takes
about half an hour: `make test-workers`. PostgreSQL's programs must be installed. LIMA_TEST_S3 is the address of an
S3-compatible server, for the DVC remote and MLflow's artifacts; without it, both are folders.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import free_port
from prefect_api import FINAL, answers, call

ROOT = Path(__file__).parents[2]
SEEDS = range(18, 23)  # with the arm lima: six arms
ARMS = ["lima", *(f"lima-{seed}" for seed in SEEDS)]
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
S3 = os.environ.get("LIMA_TEST_S3", "")
pytestmark = [pytest.mark.workers, pytest.mark.timeout(9000)]


class Servers:
    """Processes, each with its log; all are ended with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Path(tempfile.mkdtemp(prefix="postgresql."))  # PostgreSQL refuses to run as root
        self.running: dict[str, subprocess.Popen] = {}
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "LIMA_"))
        }
        self.env |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "DO_NOT_TRACK": "1",
            "COLUMNS": "200",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }

    def start(self, name: str, *words: str, cwd: Path, user: int | None = None, **variables: str) -> subprocess.Popen:
        with self.log(name).open("w") as log:
            self.running[name] = subprocess.Popen(
                words, cwd=cwd, env=self.env | variables, stdout=log, stderr=subprocess.STDOUT, user=user
            )
        return self.running[name]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def wait(self, what: str, true: Callable[[], object], *, seconds: float) -> object:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := true():
                return found
            time.sleep(0.5)
        logs = "\n".join(f"--- {name}\n{self.log(name).read_text()[-1500:]}" for name in self.running)
        raise AssertionError(f"{what}: not within {seconds} s\n{logs}")

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        process = self.running[name]
        process.send_signal(number)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end(self) -> None:
        for name in reversed(self.running):
            self.stop(name)


def run(servers: Servers, *words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, env=servers.env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def servers(tmp_path) -> Iterator[Servers]:
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed")
    made = Servers(tmp_path)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(made.database, ignore_errors=True)


def start_database(servers: Servers, port: int) -> None:
    folder = servers.database
    options = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
    user = folder.stat().st_uid
    servers.start("database", str(PROGRAMS[-1] / "postgres"), "-D", str(folder), *options, cwd=Path("/"), user=user)


def postgresql(servers: Servers) -> int:
    """Start PostgreSQL with the databases prefect and mlflow; return its port."""
    folder, port, user = servers.database, free_port(), None
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        user = folder.stat().st_uid
    words = [PROGRAMS[-1] / "initdb", "-D", folder, "-U", "lima", "-A", "trust"]
    made = subprocess.run(words, user=user, capture_output=True, text=True, cwd="/")
    assert made.returncode == 0, made.stdout + made.stderr
    start_database(servers, port)
    base = [str(PROGRAMS[-1] / "psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "lima", "-d", "postgres", "-c"]

    def ready() -> bool:
        return subprocess.run([*base, "SELECT 1"], capture_output=True).returncode == 0

    servers.wait("PostgreSQL", ready, seconds=60)
    for name in ("prefect", "mlflow"):
        subprocess.run([*base, f"CREATE DATABASE {name}"], check=True, capture_output=True)
    return port


def stores(servers: Servers) -> tuple[str, str]:
    """Addresses of the DVC remote and of MLflow's artifacts."""
    if not S3:
        return str(servers.folder / "remote"), str(servers.folder / "artifacts")
    servers.env |= {"AWS_ENDPOINT_URL_S3": S3, "AWS_ACCESS_KEY_ID": "lima", "AWS_SECRET_ACCESS_KEY": "secret"}
    servers.env |= {"AWS_DEFAULT_REGION": "us-east-1"}
    run(servers, sys.executable, "infra/create_buckets.py", "lima-dvc", "lima-mlflow", cwd=ROOT)
    return "s3://lima-dvc", "s3://lima-mlflow"


def repository(servers: Servers, clone: Path) -> Path:
    """A repository whose parameters have six arms of the profile ci."""
    origin = servers.folder / "origin"
    shutil.copytree(clone, origin, symlinks=True)
    lima = [sys.executable, "-m", "lima.cli"]
    servers.env |= {"PYTHONPATH": str(origin)}
    run(servers, *lima, "profile", "use", "ci", cwd=origin)
    for seed in SEEDS:
        run(servers, *lima, "arms", "add", f"lima-{seed}", "--from", "lima", "--seed", str(seed), cwd=origin)
    run(servers, "git", "add", "--all", cwd=origin)
    run(servers, "git", "commit", "--quiet", "--message", "six arms", cwd=origin)
    return origin


def cloned(servers: Servers, origin: Path, name: str) -> Path:
    run(servers, "git", "clone", "--quiet", str(origin), name, cwd=servers.folder)
    return servers.folder / name


def training_in(folder: Path) -> bool:
    """Whether the stage train runs in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            if b"lima.stages.train\0" in words and (process / "cwd").readlink() == folder:
                return True
        except OSError:
            continue
    return False


def trainings(log: Path) -> int:
    """How often the stage train was started, by the log of a worker."""
    return log.read_text().count("Running stage 'train@")


def bare(report: Path) -> str:
    """A report without times and without the addresses of its own checkout."""
    text = report.read_text()
    return re.sub(r"\d+(\.\d+)? ?(ms|s|min|h)\b|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?", "TIME", text)


def test_two_workers_train_six_arms_although_a_worker_the_database_and_the_server_stop(servers, clone):
    origin = repository(servers, clone)
    remote, artifacts_folder = stores(servers)
    database = postgresql(servers)
    prefect, mlflow = free_port(), free_port()
    address = f"postgresql+psycopg://lima@127.0.0.1:{database}/mlflow"
    servers.start(
        *("mlflow", "mlflow", "server", "--workers", "1", "--port", str(mlflow), "--backend-store-uri", address),
        *("--artifacts-destination", artifacts_folder),
        cwd=servers.folder,
    )
    api = f"http://127.0.0.1:{prefect}/api"

    def start_prefect() -> None:
        servers.start(
            *("prefect", "prefect", "server", "start", "--port", str(prefect)),
            cwd=servers.folder,
            PREFECT_API_DATABASE_CONNECTION_URL=f"postgresql+asyncpg://lima@127.0.0.1:{database}/prefect",
        )
        servers.wait("Prefect", lambda: answers(f"{api}/health"), seconds=600)

    start_prefect()
    servers.wait("MLflow", lambda: answers(f"http://127.0.0.1:{mlflow}/health"), seconds=600)
    servers.env |= {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}"}
    servers.env |= {"LIMA_DVC_REMOTE": remote}

    folders = {name: cloned(servers, origin, name) for name in ("main", "worker-0", "worker-1", "serial")}
    for name in ("main", "worker-0", "worker-1"):
        pool = "gpu" if name == "main" else "arms"
        servers.start(name, "infra/worker.sh", cwd=folders[name], POOL=pool, PYTHONPATH=str(folders[name]))
        servers.wait(name, lambda name=name: "started!" in servers.log(name).read_text(), seconds=600)

    deployment = call(f"{api}/deployments/name/ablations/ablations")
    asked = {"state": {"type": "SCHEDULED"}, "parameters": {"on_work_pool": True}}
    flow = call(f"{api}/deployments/{deployment['id']}/create_flow_run", asked)["id"]
    servers.wait("training in worker-0", lambda: training_in(folders["worker-0"]), seconds=900)
    servers.running["worker-0"].send_signal(signal.SIGKILL)
    servers.wait("training in worker-1", lambda: training_in(folders["worker-1"]), seconds=900)
    servers.stop("database", signal.SIGINT)
    time.sleep(60)
    start_database(servers, database)
    servers.wait("another arm in worker-1", lambda: trainings(servers.log("worker-1")) > 1, seconds=1800)
    servers.stop("prefect", signal.SIGTERM)
    start_prefect()

    def ended() -> dict | None:
        found = call(f"{api}/flow_runs/{flow}")
        return found if found["state_type"] in FINAL else None

    done = servers.wait("the flow run", ended, seconds=5400)
    logs = call(f"{api}/logs/filter", {"logs": {"flow_run_id": {"any_": [flow]}}, "limit": 200})
    assert done["state_type"] == "COMPLETED", "\n".join(line["message"] for line in logs)
    assert not training_in(folders["worker-0"])

    # the parent trained and sampled nothing: it restored what the workers pushed
    parent = servers.log("main").read_text()
    for stage in ("train", "select", "sample"):
        assert f"Running stage '{stage}@lima" not in parent, stage

    runs = call(
        f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/runs/search",
        {"experiment_ids": ["1"], "filter": "attributes.status = 'FINISHED'"},
    )["runs"]
    assert sorted(run["info"]["run_name"] for run in runs) == sorted(ARMS)

    artifacts = call(f"{api}/artifacts/latest/filter", {"limit": 50})
    pages = next(artifact["data"] for artifact in artifacts if artifact["key"] == "pages")
    for arm in ARMS:
        assert f"[MLflow run of {arm}](http://127.0.0.1:{mlflow}/#/experiments/1/runs/" in pages

    serial = folders["serial"]
    run(servers, sys.executable, "-m", "dvc", "repro", cwd=serial)
    assert bare(folders["main"] / "reports/report.html") == bare(serial / "reports/report.html")
