"""OpenMP wait policy: lima sets it before torch is loaded, unless the user set it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def spins(**environment):
    """Spin counts of waiting threads, as displayed by libgomp after lima and torch are imported."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    base |= {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import lima.stages.sample, torch"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=base | environment)
    counts = {int(count) for count in re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)}
    if not counts:
        pytest.skip("this torch was built with an OpenMP that does not display its settings")
    return counts


@pytest.mark.slow
def test_waiting_threads_sleep_unless_configured_otherwise():
    assert spins() == {0}
    [active] = spins(OMP_WAIT_POLICY="active")
    assert active > 10**9
    assert spins(GOMP_SPINCOUNT="1000") == {1000}
