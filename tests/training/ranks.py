"""Distributed trainings of tests: two processes that communicate with gloo, forked by rank.py."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conftest import free_port

ROOT = Path(__file__).parents[2]
RANK = Path(__file__).with_name("rank.py")
HAS_COMPILER = shutil.which("g++") is not None  # with which DeepSpeed compiles its CPU kernels


@dataclass
class Outcome:
    statuses: list[int]  # by rank; negative is the signal that ended a process
    logs: list[str]  # by rank
    steps: list[list[float]] | None  # loss and gradient norm; None if the main process failed


class Launcher:
    """Starts distributed trainings below a folder."""

    def __init__(self, folder, *, deepspeed):
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ACCELERATE_USE_CPU": "true"}
        self.process = subprocess.Popen(
            [sys.executable, str(RANK), *(["--deepspeed"] if deepspeed else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def run(self, name, *, processes=2, zero=None, working=None, recipe=None, **options):
        """Train; `zero` names a configuration of DeepSpeed, `working` is a folder of states or one per rank.

        Options: the step to stop after, the fault of a process (see rank.py), limits of state_parts, whether to check
        the model first and to write checkpoints. A failed process ends the others after `grace` seconds, and not
        before a path below the folder that matches `awaited` exists.
        """
        out = self.folder / f"{name}.json"
        folders = [working] if isinstance(working, Path) else working or []
        environment = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
        environment |= {"MASTER_PORT": str(free_port())}
        if zero:
            configuration = str(ROOT / f"infra/deepspeed/{zero}.json")
            environment |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": configuration}
        job = {
            "base": str(self.folder),
            "out": str(out),
            "processes": processes,
            "working": [str(each) for each in folders],
            "environment": environment,
            "recipe": {"precision": "fp32"} | (recipe or {}),
        }
        defaults = {"stop": None, "fault": None, "limits": {}, "check": False, "checkpoints": False}
        defaults |= {"grace": 0.5, "awaited": "*"}
        assert options.keys() <= defaults.keys()
        self.process.stdin.write(json.dumps(job | defaults | options) + "\n")
        self.process.stdin.flush()
        statuses = json.loads(self.process.stdout.readline())
        logs = [Path(f"{out}.{rank}.log").read_text() for rank in range(processes)]
        result = json.loads(out.read_text()) if statuses[0] == 0 else None
        assert result is None or result["ranks"] == processes
        return Outcome(statuses, logs, result and result["steps"])

    def steps(self, name, **options):
        """Steps of a training that ends without an error."""
        outcome = self.run(name, **options)
        assert not any(outcome.statuses), outcome.logs
        assert "does not fit" not in "".join(outcome.logs)
        return outcome.steps
