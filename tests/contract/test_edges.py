"""Stages that DVC runs again after a file of code has changed: only those whose output the file can change.

The stage code runs after every change. The others run if it writes another digest.
"""

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

ROOT = Path(__file__).parents[2]
JUDGE = {
    *("judge@lima-base", "judge@lima-unfiltered", "judge@lima-authors"),
    *("judge@lima-base-constraints", "judge@lima-base-attacks", "judge@lima-base-dialogues"),
    "judge@lima-base-conversations",
}


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory) -> dict[str, set[Path]]:
    """Files and folders that each stage depends on, by the name of the stage."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    Repo.init(str(folder), no_scm=True).close()
    with Repo(str(folder)) as repo:
        return {
            stage.addressing.rpartition(":")[2]: {
                Path(dep.fs_path).relative_to(folder) for dep in stage.deps if dep.def_path
            }
            for stage in repo.index.stages
        }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lima/reporting/figures.py", {"report"}),  # a plot
        ("lima/reporting/templates/report.html", {"report"}),
        ("lima/reporting/templates/card.html", {"report"}),
        ("lima/sources/wikihow/reader/page.py", {"scrape@wikihow"}),  # the reader of another source
        ("lima/sources/wikihow/rules.py", {"filter@wikihow"}),
        ("lima/evaluation/live_conversations.py", JUDGE),
        ("lima/sources/stack_exchange/comments.py", set()),  # read by `lima dialogues`
        ("lima/evaluation/constraints/prose.py", JUDGE),
        ("lima/training/throughput.py", set()),  # what training shows, not what it writes
        ("lima/lazy_names.py", set()),
    ],
)
def test_a_changed_file_runs_only_the_stages_that_it_affects(path, expected, dependencies):
    assert (ROOT / path).exists()
    digest = Path("data/code", path).relative_to("data/code/lima").with_suffix(".sha256")
    affected = {
        stage
        for stage, deps in dependencies.items()
        if any(Path(name).is_relative_to(dependency) for dependency in deps for name in (path, f"data/code/{digest}"))
    }
    assert affected - {"code"} == expected
    assert "code" in affected
