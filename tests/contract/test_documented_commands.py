"""Documentation: commands of README exist, and the tutorial's commands run as written."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from lima.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs/own-site.md").read_text(encoding="utf-8")
LIMA = sorted(set(re.findall(r"`lima ([^`]+)`", README)))
MAKE = sorted(set(re.findall(r"(?:`|\$ )make ([a-z]+)", README)))


@pytest.mark.parametrize("words", LIMA)
def test_each_lima_command_of_the_readme_has_these_names_and_options(words):
    command, rest = typer.main.get_command(app), words.split()
    while rest and (known := getattr(command, "commands", None)):
        assert rest[0] in known
        command = known[rest.pop(0)]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= {*options, "--help"}


@pytest.mark.parametrize("target", MAKE)
def test_each_make_target_of_the_readme_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path):
    shutil.copytree(ROOT / "corpus/dumps/stack_exchange_stem", tmp_path / "my-site")
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", TUTORIAL, re.M | re.S))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing written" in done.stdout and "wrote " in done.stdout
    assert (tmp_path / "lima-project/data/filter/my_site/kept.jsonl").stat().st_size > 0
