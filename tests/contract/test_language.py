"""Language: documents and settings use standard terms, wrap at 100 columns and name files that exist."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BANNED = re.compile(r"\b(told|nats|whatever|mend|mended|stands)\b|(?<!\bthere )\bis no (?!longer)", re.IGNORECASE)
PATH = re.compile(r"`((?:lima|flows|infra|corpus|benchmarks|tests|docs)/[\w./-]*\w)/?`")


def tracked(*patterns: str) -> list[Path]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).exists()]


MARKDOWN = [path for path in tracked("*.md") if not path.is_relative_to(ROOT / "lima")]
SETTINGS = tracked("params.yaml", "dvc.yaml", "Makefile", "infra", "pyproject.toml", ".pre-commit-config.yaml")
CODE = tracked("lima/*.py", "flows/*.py", "benchmarks/*.py")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", [*MARKDOWN, *SETTINGS, *CODE], ids=ids([*MARKDOWN, *SETTINGS, *CODE]))
def test_texts_use_standard_terms(path):
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    assert [f"{number}: {line.strip()}" for number, line in lines if BANNED.search(line)] == []


@pytest.mark.parametrize("path", MARKDOWN, ids=ids(MARKDOWN))
def test_markdown_wraps_at_100_columns_except_tables(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


@pytest.mark.parametrize("path", MARKDOWN, ids=ids(MARKDOWN))
def test_markdown_names_paths_that_exist(path):
    names = PATH.findall(path.read_text(encoding="utf-8"))
    placeholders = re.compile(r"[A-Z]{4,}")
    assert [name for name in names if not placeholders.search(name) and not (ROOT / name).exists()] == []


def test_the_architecture_lists_the_layers_of_import_linter():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("lima.", "") for contract in contracts for layer in contract["layers"]]
    blocks = re.findall(r"(?:^ {4}.+\n)+", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.M)
    listed = [[line.strip().replace("lima.", "") for line in block.splitlines()] for block in blocks]
    assert layers in listed
