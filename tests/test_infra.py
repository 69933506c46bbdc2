"""Scripts of infra/, and its descriptions of containers and jobs against their schemas."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
from conftest import free_port
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def run(script: str, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    return subprocess.run(
        [str(ROOT / "infra" / script), *words], cwd=cwd, capture_output=True, text=True, env=env, timeout=300
    )


def test_install_reports_the_output_of_a_python_that_does_not_run(tmp_path):
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho 'error while loading shared libraries: libpython3.so' >&2\nexit 127\n")
    broken.chmod(0o755)
    done = run("install.sh", str(broken), "venv", cwd=tmp_path)
    assert done.returncode == 1
    assert f"error: {broken} does not run: error while loading shared libraries: libpython3.so;" in done.stderr


@pytest.mark.parametrize("script", ["worker.sh", "deploy.sh"])
def test_without_a_server_the_error_names_the_command_that_starts_one(tmp_path, script):
    api = f"http://127.0.0.1:{free_port()}/api"
    done = run(script, cwd=tmp_path, PREFECT_API_URL=api)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot reach Prefect at {api} (")
    assert done.stderr.endswith("; start it with `make ui`, or set PREFECT_API_URL\n")


def test_ui_refuses_a_used_port_that_was_asked_for(tmp_path):
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        done = run("ui.sh", cwd=tmp_path, PREFECT_PORT=str(free_port()), MLFLOW_PORT=str(port))
    assert done.returncode == 1
    assert f"error: port is in use or invalid: {port}; choose another MLFLOW_PORT" in done.stderr


SERVER = """#!{python}
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

if "--port" not in sys.argv:
    with Path("calls").open("a") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\\n")
    sys.exit(0)


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Healthy).serve_forever()
"""


def test_ui_takes_free_ports_says_when_each_server_answers_and_deploys(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("prefect", "mlflow"):  # the servers' health pages; other commands are recorded
        (programs / name).write_text(SERVER.format(python=sys.executable))
        (programs / name).chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name not in ("PREFECT_PORT", "MLFLOW_PORT")}
    env["PATH"] = f"{programs}:{Path(sys.executable).parent}:{env['PATH']}"
    held = []
    for port in (4200, 5000):
        held.append(socket.socket())
        try:
            held[-1].bind(("127.0.0.1", port))
            held[-1].listen()
        except OSError:
            pass  # another process has it: as good
    process = subprocess.Popen(
        [ROOT / "infra/ui.sh"], cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    lines = []
    try:
        while len(lines) < 4:
            line = process.stdout.readline()
            assert line, lines
            lines.append(line.strip())
        address = (tmp_path / "work/prefect/api").read_text().strip()
        settings = tomllib.loads((tmp_path / "prefect.toml").read_text())
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
        for used in held:
            used.close()
    ready = {line.split()[0]: line.split()[-1] for line in lines if "is ready" in line}
    assert ready["Prefect"] + "/api" == address
    assert settings == {"api": {"url": address}}  # `prefect` in this folder then uses this server
    assert {port.rsplit(":")[-1] for port in ready.values()}.isdisjoint({"4200", "5000"})
    assert "flows are deployed; start a worker in another terminal: make worker" in lines
    assert "--no-prompt deploy --prefect-file infra/prefect.yaml --all" in (tmp_path / "calls").read_text()
    assert not (tmp_path / "work/prefect/api").exists()  # a stopped server is not the worker's
    assert not (tmp_path / "prefect.toml").exists()


def checked(*words: str) -> subprocess.CompletedProcess:
    program = Path(sys.executable).parent / words[0]
    return subprocess.run([program, *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_compose_file_and_the_dockerfile_are_valid():
    schema = checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "infra/compose.yaml")
    assert schema.returncode == 0, schema.stdout
    lint = checked("hadolint", "infra/Dockerfile")
    assert lint.returncode == 0, lint.stdout


def test_compose_publishes_ports_on_loopback_and_has_no_default_password():
    text = (ROOT / "infra/compose.yaml").read_text()
    services = YAML(typ="safe").load(text)["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)
    for name in ("POSTGRES_PASSWORD", "S3_PASSWORD"):
        first = re.search(rf"\$\{{{name}\b[^}}]*}}", text)
        assert first and ":?" in first[0], name


def test_the_manifests_of_kubernetes_are_valid():
    for manifest in YAML(typ="safe").load_all(ROOT / "infra/kubernetes/train.yaml"):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def filled(value: object, defaults: dict[str, object]) -> object:
    """A work pool's template with the defaults of its variables, as Prefect fills it."""
    match value:
        case dict():
            return {key: filled(inner, defaults) for key, inner in value.items()}
        case list():
            return [filled(inner, defaults) for inner in value]
        case str() if whole := re.fullmatch(r"\{\{ (\w+) }}", value):
            return defaults[whole[1]]
        case str():
            return re.sub(r"\{\{ (\w+) }}", lambda found: str(defaults[found[1]]), value)
    return value


def test_the_work_pool_of_kubernetes_makes_valid_jobs_out_of_its_variables():
    template = json.loads((ROOT / "infra/kubernetes/work_pool.json").read_text())
    variables = template["variables"]["properties"]
    used = set(re.findall(r"\{\{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used == set(variables)
    defaults = {name: variable["default"] for name, variable in variables.items()}
    # the worker sets these for each run: a command as list, variables as name and value
    defaults |= {"name": "lima", "command": ["prefect", "flow-run", "execute"], "env": [{"name": "A", "value": "b"}]}
    job = filled(template["job_configuration"]["job_manifest"], defaults)
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("node", "called"),
    [("0", "dvc repro --single-item train@lima"), ("1", "python -m lima.stages.train lima")],
)
def test_one_node_of_a_slurm_job_runs_the_stage_and_the_others_join_it(tmp_path, node, called):
    for name in ("dvc", "python"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*"; echo "$LIMA_LAUNCH"\n')
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_NODEID": node, "LIMA_MAIN_NODE": "gpu7"}
    script = ROOT / "infra/slurm/node.sh"
    done = subprocess.run([script, "lima"], env=env, capture_output=True, text=True, check=True, timeout=300)
    config = "accelerate launch --config_file infra/accelerate/zero3-nodes.yaml"
    assert done.stdout == f"{called}\n{config} --machine_rank {node} --main_process_ip gpu7\n"


def test_a_worker_in_a_container_needs_the_address_of_the_repository(tmp_path):
    env = {name: value for name, value in os.environ.items() if name != "LIMA_ORIGIN"}
    script = ROOT / "infra/container_worker.sh"
    done = subprocess.run([script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "LIMA_ORIGIN: set it to the address of the git repository" in done.stderr
