import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lima(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lima.cli", *words], cwd=ROOT, capture_output=True, text=True)


def test_help_names_every_command_with_a_sentence():
    shown = lima("--help")
    assert shown.returncode == 0
    assert "inspect" in shown.stdout and "profile" in shown.stdout


def test_profiles_are_listed_with_the_one_in_use():
    assert lima("profile", "list").stdout.splitlines() == ["  ci", "* laptop", "  paper-65b", "  paper-7b"]


@pytest.mark.parametrize("words", [("profile", "use", "desktop"), ("inspect", "no-such-dump.7z")])
def test_what_a_user_can_mend_is_told_without_a_traceback(words):
    done = lima(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and words[-1] in done.stderr
    assert "Traceback" not in done.stderr
