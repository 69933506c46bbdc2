import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAITING = """
import time
from lima.errors import run_command
def main():
    print("ready", flush=True)
    time.sleep(60)
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
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "interrupted; the previous result is unchanged\n")
