import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAITING = """
import time
from lima.errors import run_command
def main():
    print("ready", flush=True)
    time.sleep(600)
run_command(main)
"""


def test_ctrl_c_ends_a_command_with_one_line_and_status_130():
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert (process.returncode, stderr) == (130, "interrupted; the previous result is unchanged\n")


def test_a_second_dvc_in_a_checkout_is_refused_and_the_readme_says_so(tmp_path):
    assert "Run one `dvc` at a time in a checkout." in (ROOT / "README.md").read_text()
    (tmp_path / "dvc.yaml").write_text("stages: {slow: {cmd: touch begun && sleep 600, outs: [begun]}}")
    environment = os.environ | {"DVC_NO_ANALYTICS": "true", "DVC_GLOBAL_CONFIG_DIR": str(tmp_path / "config")}
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=tmp_path, env=environment, check=True)
    first = subprocess.Popen([*dvc, "repro"], cwd=tmp_path, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = subprocess.run([*dvc, "repro"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert second.returncode != 0
        assert "rwlock" in second.stderr
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
