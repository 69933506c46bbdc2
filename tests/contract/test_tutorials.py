"""Tutorials: commands and snippets of the pages run as written, in one project with a tiny model and a fake judge."""

import importlib
import json
import re
import shlex
from contextlib import chdir
from pathlib import Path

import chat_server
import networkx
import pyarrow
import pyarrow.parquet
import pytest
from accelerate.state import AcceleratorState
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.stage import Stage

from lima import config, jsonl
from lima.cli import app
from lima.config.entries import RandomModel
from lima.records import Judgment
from lima.training import base_model

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")  # stages run without filters of warnings; DVC and MLflow raise some
STATED_URL = "http://127.0.0.1:8000/v1"  # of the page; replaced by that of the fake judge


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M | re.S)


class Shell:
    """Runs the lines of a page: `lima` and the stages of `dvc repro` in this process, which loads torch once."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.finished: dict[str, tuple[object, ...]] = {}  # stage → inputs of its last run

    def run(self, page: str) -> None:
        for line in "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line.replace(STATED_URL, self.url))
            with chdir(self.folder):
                if program == "lima":
                    app(words, standalone_mode=False)
                elif (program, words[0]) == ("dvc", "repro"):
                    self.reproduce(words[1:])
                else:
                    assert program == "cd", line
                    self.folder = self.folder / words[0]

    def reproduce(self, targets: list[str]) -> None:
        """Run the changed stages among those that DVC's graph has for the targets, in its order."""
        with Repo() as repo:
            graph = repo.index.graph
            wanted = [stage for target in targets for stage in repo.stage.collect(target, graph=graph)] or [*graph]
            needed = {far for stage in wanted for far in (stage, *networkx.descendants(graph, stage))}
            ordered = [stage for stage in networkx.dfs_postorder_nodes(graph) if stage in needed]
        for stage in ordered:
            if self.finished.get(stage.addressing) != (inputs := inputs_of(stage)):
                _, _, module, *arguments = shlex.split(stage.cmd)
                entry = importlib.import_module(module)
                AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps one state per process
                getattr(entry, "start", entry.main)(*arguments)
                self.finished[stage.addressing] = inputs


def inputs_of(stage: Stage) -> tuple[object, ...]:
    """The parameters and the newest time of each dependency of a stage, without the digests of its modules."""
    params = [dep.read_params() for dep in stage.deps if isinstance(dep, ParamsDependency)]
    paths = [Path(dep.fs_path) for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    data = [path for path in paths if path.exists() and not path.is_relative_to(Path("data/code").resolve())]
    times = [max(each.stat().st_mtime_ns for each in (path, *path.rglob("*"))) for path in data]
    return stage.cmd, str(params), *times


def verdict(body: dict, number: int) -> chat_server.Sent:
    return chat_server.said("The first answer is shorter.\nVERDICT: A")


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorials")
    rows = [json.loads(line) for line in (ROOT / "corpus/authored/group_a_train.jsonl").read_text().splitlines()[:60]]
    rows = [{"messages": row["messages"]} for row in rows]
    (folder / "my-notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:40]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows[40:]), folder / "more-notes.parquet")
    (folder / "my-model").mkdir()
    base_model.write(
        RandomModel(kind="random", layers=2, hidden=64, heads=4, context=1024), folder / "my-model", seed=1
    )
    with chat_server.serving(verdict) as served:
        ran = Shell(folder, served.url)
        ran.run("own-data.md")
        yield ran


def test_own_data_base_model_and_judge(shell):
    with chdir(shell.folder):
        judged = list(jsonl.read(Path("data/judge/own-base/judge/judgments.jsonl"), Judgment))
        assert judged and Path("reports/report.html").exists() and Path("card.html").exists()
        assert set(config.load().arms["own"].examples) == {"my_notes", "more_notes"}


def test_an_ablation_and_a_human_study(shell):
    shell.run("studies.md")
    with chdir(shell.folder):
        assert "small" in json.loads(Path("reports/metrics.json").read_text())["arms"]
        people = list(jsonl.read(Path("data/judge/own-base/people/judgments.jsonl"), Judgment))
        assert people and all(judgment.simulated for judgment in people)


def test_results_in_python(shell):
    [snippet] = blocks("python.md", "python")
    with chdir(shell.folder):
        names: dict[str, object] = {}
        exec(compile(snippet, "docs/python.md", "exec"), names)
        assert len(names["candidates"]) > 60 and names["verdicts"] and "Why is the sky blue?" in names["answer"]


def test_the_notebook_of_a_project_runs(shell):
    with chdir(shell.folder):
        cells = json.loads(Path("results.ipynb").read_text())["cells"]
        names: dict[str, object] = {}
        for number, cell in enumerate(cells):
            assert not cell.get("outputs")  # they would be of another run
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"results.ipynb, cell {number}", "exec"), names)
        assert len(names["rows"]) == len(names["candidates"]) > 60
        assert len(names["judged"]) == len(names["verdicts"]) > 0 and isinstance(names["answer"], str)
