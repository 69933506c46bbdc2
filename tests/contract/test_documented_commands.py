"""Documentation: every command exists with its options, links lead to files, and the tutorials run as written."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import typer.main
from dvc.cli.parser import get_main_parser
from ruamel.yaml import YAML

from lima import jsonl
from lima.cli import app

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/own-site.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
LISTED = subprocess.run(["git", "ls-files", "--", "*.md"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in LISTED.split() if (ROOT / name).exists()}
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b|…")  # `lima plan ARM`, `lima arms add …`: names and options only


def commands(program: str) -> list[str]:
    """Commands of a program in inline code and in the lines of code blocks of all pages, without comments."""
    found = set()
    for text in PAGES.values():
        blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S) + re.findall(r"(?:^(?: {4,}).+\n?)+", text, re.M)
        lines = [
            line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()
        ]
        prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
        for line in lines:
            for part in re.split(r"\s*(?:&&|;|\|)\s+|\s#\s|\)$", re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line)):
                if part.startswith(f"{program} "):
                    found.add(part.removeprefix(f"{program} ").strip())
    return sorted(found)


@pytest.mark.parametrize("words", commands("lima"))
def test_each_lima_command_has_these_names_and_options(words):
    command, rest = typer.main.get_command(app), shlex.split(re.sub(r"[\[\]]", "", words))
    with typer.Context(command, info_name="lima") as parent:
        while rest and not rest[0].startswith("-") and (known := getattr(command, "commands", None)):
            assert rest[0] in known
            command = known[rest.pop(0)]
        if not rest or PLACEHOLDER.search(words) or all(word.startswith("--") for word in rest):
            options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            assert {word for word in rest if word.startswith("--")} <= {*options, "--help"}
        else:  # every argument is parsed and converted, and nothing runs
            command.make_context("lima", rest, parent=parent)


@pytest.mark.parametrize("words", [words for words in commands("lima") if re.match("trace .*/", words)])
def test_lima_trace_names_an_id_of_the_corpus(words):
    source, _, name = words.removeprefix("trace ").rpartition(":")[2].split("/")
    rows = [row for path in (ROOT / "corpus" / source).glob("*.jsonl") for row in jsonl.objects(path)]
    assert name in {row["id"] for row in rows}


@pytest.mark.parametrize("words", [words for words in commands("dvc") if not PLACEHOLDER.search(words)])
def test_dvc_parses_each_dvc_command_and_the_stages_exist(words):
    arguments = [*shlex.split(words), *(["train.epochs=5"] if words.endswith("-S") else [])]
    parsed = get_main_parser().parse_args(arguments)
    if arguments[0] == "repro":
        assert {target.partition("@")[0] for target in parsed.targets} <= STAGES.keys()


@pytest.mark.parametrize("target", sorted({re.split(r"[\s,]", words)[0] for words in commands("make")}))
def test_each_make_target_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.M)


@pytest.mark.parametrize("words", [words for words in commands("python -m") if re.match(r"(lima|benchmarks)\.", words)])
def test_each_module_that_is_run_exists(words):
    name = words.split()[0].replace("NAME", "run")
    assert (ROOT / f"{name.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_of_the_repository(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", PAGES[page], flags=re.M | re.S)
    targets = re.findall(r"(?:\]\(|<img src=\")([^)\"#\s]+)", text)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 150


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
