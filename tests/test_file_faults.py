"""An error of the file system is one line with the path and the fix; a bug keeps its traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lima import errors
from lima.parallel import jobs

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "dumps/a.7z"),
            "error: dumps/a.7z: Permission denied; change",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
            "error: x: No such file or directory; correct",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "t/a"), "error: t/a: No space left on device; free space"),
        (OSError(errno.ENOENT, "No such file or directory", "a", None, "b"), "error: a → b: No such file"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "error: No usable temporary directory found in ['/tmp']; free space there, or set TMPDIR",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a\x1b[2J"), r"error: a\x1b[2J: Permission denied"),
    ],
)
def test_a_fault_of_the_file_system_is_one_line_with_its_path_and_what_to_do(fault, line, monkeypatch):
    def main() -> None:
        raise fault

    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit) as ended:
        errors.run_command(main)
    assert str(ended.value).startswith(line)
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize("bug", [ConnectionRefusedError(errno.ECONNREFUSED, "refused"), OSError("odd"), KeyError("x")])
def test_any_other_error_keeps_its_traceback(bug, monkeypatch):
    def main() -> None:
        raise bug

    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(type(bug)):
        errors.run_command(main)


def test_a_part_whose_file_cannot_be_opened_is_told_in_one_line_beside_the_others(tmp_path):
    reply = jobs.run_job("os:listdir", str(tmp_path / "gone"), folder=tmp_path)
    assert reply.user_error
    assert reply.error == f"{tmp_path}/gone: No such file or directory; correct the path, or put the file there"


@pytest.mark.parametrize("command", [["lima.cli", "profile", "list"], ["lima.stages.mix", "lima"]])
def test_a_folder_in_the_place_of_the_parameters_is_no_traceback(command, tmp_path):
    (tmp_path / "params.yaml").mkdir()
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml: Is a directory; it is a folder; name a file, or move the folder away\n"


def test_an_overlong_line_is_a_bad_row_and_the_rest_is_read(tmp_path):
    row = '{"instruction": "Why is bread %d times as brown?", "input": "", "output": "Sugars react."}\n'
    long = '{"instruction": "x", "input": "", "output": "%s"}\n' % ("a" * 17_000_000)
    (tmp_path / "rows.jsonl").write_text(row % 1 + long + row % 2)
    array = f"[{(row % 1).strip()},{long.strip()},{(row % 2).strip()}]"
    (tmp_path / "rows.json").write_text(array)
    for name in ("rows.jsonl", "rows.json"):
        done = subprocess.run(
            [sys.executable, "-m", "lima.cli", "inspect", str(tmp_path / name)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "Bad rows: 1" in done.stdout
        assert f"{name}:2: a " in done.stdout and "at most 16,777,216" in done.stdout
        assert "rows                3" in done.stdout
