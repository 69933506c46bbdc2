"""Summary of a run: models, comparisons by people and models only, files, size and commands."""

import json
from pathlib import Path

import finished_run
import pytest

from lima import config, run_summary
from lima.run_summary import NoRun


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return finished_run.build()


def test_a_folder_without_results_names_the_command_that_makes_them(params):
    with pytest.raises(NoRun, match=r"reports/metrics.json not found; run `dvc repro` \(in a clone `make reproduce`\)"):
        run_summary.summarize(params)


def test_the_summary_names_models_comparisons_files_and_next_commands(params):
    net = {"net": 0.5, "low": 0.1, "high": 0.8, "usable": 12}
    judged = {name: {"judge": net, "always-tie": net} for name in finished_run.NETS}
    figures = {"arms": {arm: {"chosen_epoch": 2} for arm in params.arms}, "evaluations": judged}
    Path("reports").mkdir()
    Path("reports/metrics.json").write_text(json.dumps(figures))
    Path("reports/report.html").write_text("<html>")
    lines = run_summary.summarize(config.load(), seconds=61).splitlines()
    [lima] = [line for line in lines if " lima: 10 examples" in line]
    assert lima.startswith("models       lima: 10 examples, 18 steps in 18 s, ") and lima.endswith(" selected")
    judged = [
        line.split(":")[0].split()[-1] for line in lines if "judge for lima +50% (+10% to +80%), 12 prompts" in line
    ]
    assert judged == ["lima-base", "lima-unfiltered"]
    assert not any("always-tie" in line for line in lines)  # a baseline: no conclusion rests on it
    assert any("reports/report.html" in line for line in lines)
    assert any(line.startswith("time, disk   1 min 1 s, ") for line in lines)
    assert any("lima chat lima base " in line for line in lines)
    assert not any("make ui" in line for line in lines)  # a project of `lima init` has no Makefile


def test_comparisons_without_people_and_models_are_listed(params):
    figures = {"lima-base": {"always-tie": {"net": 0.0, "low": 0.0, "high": 0.0, "usable": 9}}}
    only = params.model_copy(update={"evaluations": {"lima-base": params.evaluations["lima-base"]}})
    [line] = run_summary.comparisons(only, figures)
    assert line == "no conclusion, since no person and no model has judged: lima-base"


def test_a_hard_link_counts_once(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 50_000)
    once = run_summary.size(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert run_summary.size(tmp_path) == once >= 50_000
