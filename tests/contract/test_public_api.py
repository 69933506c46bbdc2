"""The public API: names of `__all__`, which are typed and imported on first use; and the contents of the wheel."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from setuptools import find_packages

from lima.lazy_names import MissingExtra, lazy_names

ROOT = Path(__file__).parents[2]
PACKAGES = ("sources", "training", "evaluation")


@pytest.mark.parametrize("package", PACKAGES)
def test_each_public_name_exists_and_is_known_to_type_checkers(package):
    """Type checkers see the imports of the block `if TYPE_CHECKING`."""
    module = import_module(f"lima.{package}")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    typed = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(name for _, name in typed) == module.__all__ == sorted(module.__all__)
    for defining, name in typed:
        assert getattr(module, name) is getattr(import_module(str(defining)), name)


def test_the_public_packages_are_imported_without_their_dependencies():
    """Also without torch, which `pip install lima` does not install."""
    names = ", ".join(f"lima.{package}" for package in PACKAGES)
    words = f"import sys, {names}; print([name for name in ('torch', 'numpy', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_name_without_its_dependency_is_an_import_error_that_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/__init__.py").touch()
    (tmp_path / "trained/loop.py").write_text("import torch_of_the_future")
    monkeypatch.syspath_prepend(tmp_path)
    attribute = lazy_names("trained", {"loop": ("fit",)}, extra="train")
    with pytest.raises(
        MissingExtra, match=r"trained\.fit needs the package 'torch_of_the_future'.*pip install 'lima\[train\]'"
    ) as caught:
        attribute("fit")
    assert isinstance(caught.value, ImportError)
    with pytest.raises(AttributeError, match="module 'trained' has no attribute 'fitt'"):
        attribute("fitt")


def test_the_wheel_has_all_files_that_modules_read_and_neither_tests_nor_corpus():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = find_packages(str(ROOT), include=settings["packages"]["find"]["include"])
    assert {name.partition(".")[0] for name in packages} == {"lima", "flows"}
    folders = {ROOT / name.replace(".", "/") for name in packages}
    patterns = settings["package-data"]["lima"]
    shipped = {path for pattern in patterns for path in (ROOT / "lima").glob(pattern)}
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "lima"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    files = {ROOT / name for name in names if (ROOT / name).exists()}
    assert {path.parent for path in files if path.suffix == ".py"} <= folders
    assert {path for path in files if path.suffix != ".py"} == shipped
    assert ROOT / "lima/py.typed" in shipped


def test_the_third_party_notices_list_each_direct_dependency_with_its_locked_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    direct = {re.split(r"[\[<>=!~ ;]", item)[0] for group in groups for item in group}
    lines = (ROOT / "THIRD_PARTY_NOTICES.md").read_text().splitlines()
    listed = dict(re.findall(r"^\| (\S+) \| (\d\S*) \| .+ \|$", "\n".join(lines), re.M))
    assert listed.keys() == direct, "run `make notices`"
    locked = dict(re.findall(r"^([\w.-]+?)(?:\[[a-z,]+\])?==(\S+)$", (ROOT / "requirements.lock").read_text(), re.M))
    versions = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in locked.items()}
    assert {name: versions[re.sub(r"[-_.]+", "-", name).lower()] for name in direct} == listed, "run `make notices`"


def test_the_architecture_gives_a_reason_for_each_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"default": project["dependencies"], **project["optional-dependencies"]}
    direct = {(re.split(r"[\[<>=!~ ;]", item)[0], group) for group, items in groups.items() for item in items}
    section = (ROOT / "docs/architecture.md").read_text().split("## Dependencies")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w., -]+) \| (\w+) \| \S.* \|$", section, re.M)
    listed = {(name, group) for names, group in rows for name in names.split(", ")}
    assert listed - {("package", "group")} == direct
