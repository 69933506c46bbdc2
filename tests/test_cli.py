import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main
from rich.text import Text

from lima import cli

ROOT = Path(__file__).parents[1]


def lima(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lima.cli", *words], cwd=ROOT, capture_output=True, text=True)


def test_help_lists_every_command_with_a_sentence():
    shown = lima("--help")
    assert shown.returncode == 0
    assert "inspect" in shown.stdout and "profile" in shown.stdout
    assert "Show what a dump contains" in shown.stdout
    assert "Options that precede" not in shown.stdout


def help_texts(command, path=()):
    yield path, command.help or ""
    for parameter in command.params:
        yield (*path, parameter.name), getattr(parameter, "help", None) or ""
    for name, part in getattr(command, "commands", {}).items():
        yield from help_texts(part, (*path, name))


def test_help_shows_every_word_of_its_texts():
    texts = dict(help_texts(typer.main.get_command(cli.app)))
    assert len(texts) > 100
    # rich drops words in brackets, such as [default: 16], as markup
    assert [path for path, text in texts.items() if Text.from_markup(text).plain != text] == []


def test_version_prints_the_version_of_the_package():
    done = lima("--version")
    assert (done.returncode, done.stdout) == (0, f"lima {version('lima')}\n")


def test_profile_list_marks_the_current_profile():
    assert lima("profile", "list").stdout.splitlines() == [
        "  ci",
        "* laptop",
        "  laptop-ablations",
        "  paper-65b",
        "  paper-7b",
        "  pretrained",
        "  pretrained-gemma",
    ]


@pytest.mark.parametrize("words", [("profile", "use", "desktop"), ("inspect", "no-such-dump.7z")])
def test_user_errors_are_printed_without_a_traceback(words):
    done = lima(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and words[-1] in done.stderr
    assert "Traceback" not in done.stderr


def test_corpus_compare_prints_one_table_row_per_set(tmp_path):
    for name, prompts in (("mine", ["Why is bread brown?", "Plan a wedding."]), ("theirs", ["Why?", "How?", "When?"])):
        (tmp_path / f"{name}.txt").write_text("\n".join(prompts))
    done = lima("corpus", "compare", str(tmp_path / "mine.txt"), str(tmp_path / "theirs.txt"))
    assert done.returncode == 0
    assert "2 of each set" in done.stdout
    rows = [[cell.strip() for cell in line.split("│")][1:3] for line in done.stdout.splitlines()]
    assert [row for row in rows if row[:1] in (["mine"], ["theirs"])] == [["mine", "2"], ["theirs", "3"]]


def test_an_error_in_the_corpus_ends_the_check_with_status_1(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a-1"}\n')
    done = lima("corpus", "check", str(tmp_path))
    assert done.returncode == 1
    assert f"schema: {tmp_path}/rows.jsonl:1: messages: Field required; group: Field required" in " ".join(
        done.stdout.split()
    )


def test_plan_without_gpus_names_the_command_for_a_cpu():
    done = lima("plan", "lima", "--gpus", "0", "--memory", "80", "--gpu", "H100", "--mfu", "0.4")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --gpus is 0, but estimates need at least one GPU; on a CPU, run `dvc repro ")
