"""What several tests need: the checkout's root, a copy of it to run in, and a free port."""

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import settings

# tests share the cores: OpenMP's threads, which wait for each other in a loop, would take them from one another. It is
# read when torch is loaded, and inherited by what tests start
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# a shell starts background jobs with SIGINT ignored, and children inherit that: tests of Ctrl-C need the default
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# how long an example takes is the machine's business: a busy one fails no law
settings.register_profile("lima", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=1000)  # pytest --hypothesis-profile thorough
settings.load_profile("lima")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A copy of the files that git knows or would add, as a repository of its own, so that dvc can run in it."""
    copy = tmp_path_factory.mktemp("clone") / "project"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run(["git", "init", "-q"], cwd=copy, check=True)
    return copy


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory):
    """A new local store of MLflow: making one takes seconds, so tests copy it."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


# Linux gives ports from 32768 on to whoever asks for a free one; processes of tests start at others of their own
PORTS = cycle(20_000 + (97 * os.getpid() + number) % 12_000 for number in range(12_000))


def free_port() -> int:
    """A port that no other process gets by chance before it is used."""
    for port in PORTS:
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports are a cycle")
