"""Layout: names of stages, exact dependencies, import direction, units of numbers, folders in the README."""

import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from lima import config, reader_names
from lima.config.sections import Filter, Train

ROOT = Path(__file__).parents[2]
GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
# modules that cannot change the bytes of a stage's output
NO_DEPENDENCY = {
    "chat_types",
    "config",
    "constraint_types",
    "display",
    "errors",
    "jsonl",
    "locks",
    "mlflow_runs",
    "parallel",
    "reader_names",
    "records",
    "redaction",
    "storage",
    "tracking",
}
NO_DEPENDENCY |= {"reporting/plot_scripts"}  # writes a file below work/
NO_DEPENDENCY |= {f"inference/{name}" for name in ("adaptive_concurrency", "generation_cache", "response_cache")}
NO_DEPENDENCY |= {
    f"training/{name}"
    for name in ("disk_space", "fingerprint", "library_output", "protocols", "selfcheck", "throughput")
}
LAZY = "__getattr__ = lazy_names("  # in an `__init__` that imports nothing itself
# files that modules read from the package
DATA = {
    "lima/reporting/templating.py": "lima/reporting/templates",
}
# modules and folders of modules that a stage imports by a name of params.yaml
IMPORTED_BY_NAME = {
    stage: {
        f"lima/sources/${{item.reader}}/{part}": [
            ROOT / f"lima/sources/{name}/{part}" for name in reader_names.BUILT_IN
        ]
    }
    for stage, part in (("scrape", "reader"), ("filter", "rules.py"))
}


def definition(stage: str) -> dict:
    return GRAPH[stage].get("do", GRAPH[stage])


def module(dependency: str) -> str:
    """The module of which the stage code writes this digest; another dependency is itself."""
    match = re.fullmatch(r"data/code/(.+)\.sha256", dependency)
    return f"lima/{match[1]}.py" if match else dependency


def tracked() -> list[str]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()


def imported(path: Path) -> set[str]:
    """Modules below lima/ that a file imports anywhere, as dotted names without `lima.`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name.removeprefix("lima.") for name in names if name.startswith("lima.")}


def closure(path: Path, seen: set[str] | None = None) -> set[str]:
    """Paths of the modules below lima/ that a module imports, directly or not, and DATA; without NO_DEPENDENCY."""
    seen = set() if seen is None else seen
    for name in imported(path):
        for candidate in (
            ROOT / "lima" / f"{name.replace('.', '/')}.py",
            ROOT / "lima" / name.replace(".", "/") / "__init__.py",
        ):
            relative = candidate.relative_to(ROOT).as_posix()
            inner = relative.removeprefix("lima/").removesuffix(".py").removesuffix("/__init__")
            if not candidate.exists() or relative in seen or {inner, inner.split("/")[0]} & NO_DEPENDENCY:
                continue
            if candidate.name == "__init__.py" and (not (text := candidate.read_text()).strip() or LAZY in text):
                continue
            seen |= {relative, DATA.get(relative, relative)}
            closure(candidate, seen)
    return seen


def own_closure(path: Path) -> set[str]:
    """The closure of a module, or of the code of a folder's `__init__`, with the module itself."""
    path = path / "__init__.py" if path.is_dir() else path
    return closure(path) | {path.relative_to(ROOT).as_posix()}


# --- one name per stage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stage_has_one_name_everywhere(stage):
    assert (ROOT / f"lima/stages/{stage}.py").exists()
    assert (ROOT / f"tests/stages/test_{stage}.py").exists()
    assert stage == "code" or stage in {field.alias or name for name, field in config.Params.model_fields.items()}
    assert f"-m lima.stages.{stage}" in definition(stage)["cmd"]
    outs = [out if isinstance(out, str) else next(iter(out)) for out in definition(stage)["outs"]]
    folder = "reports" if stage == "report" else f"data/{stage}"
    assert all(out.startswith(folder) for out in outs)


def test_each_module_of_stages_is_a_stage_of_dvc_yaml():
    assert {path.stem for path in (ROOT / "lima/stages").glob("*.py")} - {"__init__"} == set(GRAPH)


def test_prefect_runs_the_stages_of_dvc_yaml():
    from flows.dvc_commands import stages

    assert stages(ROOT / "dvc.yaml") == list(GRAPH)


def test_no_module_of_flows_has_the_name_of_a_dependency():
    """Prefect puts the folder of a flow's file on the search path, before the installed packages."""
    stems = {path.stem for path in (ROOT / "flows").glob("*.py")} - {"__init__"}
    assert not stems & set(packages_distributions())


@pytest.mark.parametrize("stage", [stage for stage in GRAPH if stage != "code"])
def test_a_stage_depends_on_exactly_the_modules_it_imports(stage):
    """For code imported by name at run time, dvc.yaml lists its file or folder and the imports outside of it."""
    needed = closure(ROOT / f"lima/stages/{stage}.py") | {f"lima/stages/{stage}.py"}
    by_name = IMPORTED_BY_NAME.get(stage, {})
    for path in (path for paths in by_name.values() for path in paths):
        needed |= {name for name in own_closure(path) if not (ROOT / name).is_relative_to(path)}
    listed = {name for dep in definition(stage)["deps"] if (name := module(dep)).startswith("lima/")}
    assert listed == needed | by_name.keys()


def test_a_stage_depends_on_the_digest_of_a_module_without_comments_and_not_on_its_bytes():
    """Except the code of sources, which may be linked from another package."""
    assert definition("code")["deps"] == ["lima"]
    by_bytes = {dep for stage in GRAPH for dep in definition(stage)["deps"] if dep.startswith("lima/")}
    assert by_bytes == {*DATA.values(), *(name for names in IMPORTED_BY_NAME.values() for name in names)}


def test_no_stage_reads_docstrings_or_source_code():
    """A changed docstring does not run a stage again."""
    dependencies = {module(dep) for stage in GRAPH for dep in definition(stage)["deps"] if "code/" in dep}
    readers_of_source = re.compile(r"__doc__|getsource|getdoc|use_attribute_docstrings")
    assert [name for name in sorted(dependencies) if readers_of_source.search((ROOT / name).read_text())] == []


@pytest.mark.parametrize("name", reader_names.BUILT_IN)
@pytest.mark.parametrize(("part", "other"), [("reader", "rules.py"), ("rules.py", "reader")])
def test_the_code_of_a_source_imports_neither_another_source_nor_its_own_other_part(name, part, other):
    """So that a changed rule does not scrape, and a changed reader filters only if the candidates change."""
    imports = {module for module in own_closure(ROOT / f"lima/sources/{name}/{part}") if module.count("/") > 2}
    folders = {module.split("/")[2] for module in imports if module.startswith("lima/sources/")}
    assert folders == {name}
    assert not [module for module in imports if module.startswith(f"lima/sources/{name}/{other}")]


def test_every_reader_has_a_folder_and_every_folder_a_reader():
    folders = {
        path.parent.name for path in (ROOT / "lima/sources").glob("*/__init__.py") if not path.parent.is_symlink()
    }
    assert folders == set(reader_names.BUILT_IN)
    assert all((ROOT / f"lima/sources/{name}/{part}").exists() for name in folders for part in ("reader", "rules.py"))


@pytest.mark.parametrize("stage", ["validate", "train"])
def test_a_changed_data_card_does_not_change_the_dependencies_of_training(stage):
    mixed = {dep for dep in definition(stage)["deps"] if dep.startswith("data/mix")}
    assert mixed == {"data/mix/${key}/train.jsonl", "data/mix/${key}/held_out.jsonl"}


# --- imports -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["lima.records", "lima.config", "lima.jsonl", "lima.cli", "lima.curation.sampling"])
def test_shared_modules_do_not_import_heavy_packages(module):
    heavy = ("torch", "transformers", "prefect", "mlflow", "great_expectations", "matplotlib", "openai", "dvc", "ray")
    words = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def importers(package: str) -> set[str]:
    pattern = re.compile(rf"^\s*(import|from) {package}\b", re.M)
    files = [name for name in tracked() if name.endswith(".py") and name.startswith(("lima/", "flows/"))]
    return {name for name in files if (ROOT / name).exists() and pattern.search((ROOT / name).read_text())}


def test_each_heavy_package_is_imported_in_one_place():
    assert importers("mlflow") == {"lima/tracking.py"}
    assert importers("great_expectations") == {"lima/validation.py"}
    assert importers("ray") == {"lima/parallel/ray_cluster.py"}
    assert importers("openai") == {"lima/inference/chat_client.py"}
    assert all(name.startswith("flows/") for name in importers("prefect"))
    assert all(name.startswith(("lima/training/", "lima/inference/")) for name in importers("(torch|transformers)"))


# --- numbers -----------------------------------------------------------------------------------------------------


def fields(model: type[BaseModel]) -> set[str]:
    """Names of the fields of a section and of its nested sections."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(name)
        for module, inner in re.findall(r"(lima\.config\.\w+)\.(\w+)", str(field.annotation)):
            names |= fields(getattr(importlib.import_module(module), inner))
    return names


def test_every_parameter_is_read_by_code():
    read = set()
    for path in [*(ROOT / "lima").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                read.add(node.attr)
    # dvc.yaml reads a contestant's `reads` and an evaluation's template; pydantic itself reads a discriminator and the
    # consent to a model's terms; filter has a section for each reader, read by the reader's name
    by_the_graph = {"reads", "template", "kind", "terms_accepted", *reader_names.BUILT_IN}
    assert sorted(fields(config.Params) - read - by_the_graph) == []


def test_training_runs_again_for_each_parameter_that_changes_its_result():
    parameters = GRAPH["train"]["do"]["params"]
    keys = {name.removeprefix("train.") for name in parameters if name.startswith("train.")}
    assert set(Train.model_fields) - keys == {"launch", "state_minutes", "max_loss"}


def test_each_reader_has_its_section_of_the_filter():
    assert set(reader_names.BUILT_IN) <= set(Filter.model_fields)


@pytest.mark.parametrize(
    "name", ["params.yaml", *(str(p.relative_to(ROOT)) for p in (ROOT / "lima/config/profiles").glob("*.yaml"))]
)
def test_each_number_has_a_comment_with_its_unit_or_source(name):
    bare = []
    section = ""
    for line in (ROOT / name).read_text().splitlines():
        text = line.split("#")[0]
        if line and not line[0].isspace():
            section = text.rstrip(":\n ")
        value = re.sub(r"[\w./-]*[A-Za-z][\w./-]*", "", text)  # without words, names and paths
        number = re.search(r"(?<![\w.])\d+(\.\d+)?", value)
        registry = section in (
            "models",
            "sources",
            "source_filters",
            "arms",
            "contestants",
            "evaluations",
            "panels",
        )
        seed = re.search(r"\bseed: \d+", text)
        if number and "#" not in line and not seed and not (registry and "{" in line):
            bare.append(line.strip())
    assert bare == []


def test_params_yaml_equals_the_laptop_profile():
    assert (ROOT / "params.yaml").read_text() == (ROOT / "lima/config/profiles/laptop.yaml").read_text()


# --- tests -----------------------------------------------------------------------------------------------------------


def is_set(node: ast.expr) -> bool:
    return isinstance(node, ast.Set | ast.SetComp) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
    )


def test_the_parameters_of_tests_are_not_sets():
    """The order of a set of strings differs between processes, but pytest-xdist needs the same order in all workers."""
    unordered = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize"
        if len(node.args) > 1 and is_set(node.args[1])
    ]
    assert unordered == []


# --- documents -------------------------------------------------------------------------------------------------------


def test_the_readme_has_the_commands_that_ci_runs():
    commands = re.findall(r"^(make \w+)$", (ROOT / "README.md").read_text(), re.M)
    assert commands[:2] == ["make reproduce", "make test"]
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make test"
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert {command.split()[1] for command in commands} <= targets


def test_the_readme_lists_the_folders():
    table = (ROOT / "README.md").read_text().split("## Folders")[1].split("\n## ")[0]
    listed = set(re.findall(r"`([\w/]+)/`", table))
    names = {name for name in tracked() if (ROOT / name).exists()}
    top = {name.split("/")[0] for name in names if "/" in name and not name.startswith(".")} - {"lima"}
    packages = {"/".join(name.split("/")[:2]) for name in names if re.fullmatch(r"lima/\w+/.*", name)}
    assert listed == top | packages


def test_requirements_lock_has_versions_and_no_index():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+(\[[a-z,]+\])?==[0-9A-Za-z.+!]+", line) for line in lines)
    assert any(line == "torch==2.13.0" for line in lines)
