"""OpenMP's wait policy: torch is loaded with the one that lima chooses, unless the user chose."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def spins(**environment):
    """How often a waiting thread looks before it sleeps, as libgomp displays it when lima and then torch are loaded."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    rest |= {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", "import lima.stages.sample, torch"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=rest | environment)
    counts = {int(count) for count in re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)}
    if not counts:
        pytest.skip("this torch was built with an OpenMP that does not display its settings")
    return counts


@pytest.mark.slow
def test_waiting_threads_sleep_unless_the_user_chose_otherwise():
    assert spins() == {0}
    [active] = spins(OMP_WAIT_POLICY="active")
    assert active > 10**9
    assert spins(GOMP_SPINCOUNT="1000") == {1000}
