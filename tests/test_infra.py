"""Error messages of the scripts in infra/."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from conftest import free_port

ROOT = Path(__file__).parents[1]


def run(script: str, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    return subprocess.run(
        [str(ROOT / "infra" / script), *words], cwd=cwd, capture_output=True, text=True, env=env, timeout=60
    )


def test_install_reports_the_output_of_a_python_that_does_not_run(tmp_path):
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho 'error while loading shared libraries: libpython3.so' >&2\nexit 127\n")
    broken.chmod(0o755)
    done = run("install.sh", str(broken), "venv", cwd=tmp_path)
    assert done.returncode == 1
    assert f"error: {broken} does not run: error while loading shared libraries: libpython3.so;" in done.stderr


def test_worker_without_a_server_names_the_command_that_starts_one(tmp_path):
    api = f"http://127.0.0.1:{free_port()}/api"
    done = run("worker.sh", cwd=tmp_path, PREFECT_API_URL=api)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot reach Prefect at {api} (")
    assert done.stderr.endswith("; start it with `make ui`, or set PREFECT_API_URL\n")


def test_ui_names_a_used_port_and_the_variable_that_changes_it(tmp_path):
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        done = run("ui.sh", cwd=tmp_path, PREFECT_PORT=str(free_port()), MLFLOW_PORT=str(port))
    assert done.returncode == 1
    assert f"error: port is in use or invalid: {port}; choose another port: MLFLOW_PORT=" in done.stderr
