"""`lima compare`: differences of two arms in recipe, data and result."""

import json
import shutil
from pathlib import Path

import finished_run
import pytest

from lima import arm_comparison
from lima.arm_comparison import Difference, Overlap
from lima.config import ParamsError


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    built = finished_run.build()
    value = {"net": 0.5, "low": 0.1, "high": 0.8, "usable": 11}
    arms = {"lima": {"ended": 0.9}, "unfiltered": {"ended": 0.8}}
    names = [name for name, evaluation in built.evaluations.items() if evaluation.task == "pairwise"]
    forms = {"lima": {"kept": 0.5}, "unfiltered": {"kept": 0.25}}
    figures = {
        "arms": arms,
        "evaluations": {name: {"judge": value} for name in names},
        "adversarial": {},
        "forms": forms,
        "likelihood": {},
        "format_distance": {},
    }
    Path("reports").mkdir()
    Path("reports/metrics.json").write_text(json.dumps(figures))
    return built


def test_arms_differ_in_pool_sources_and_the_selected_epoch(params):
    compared = arm_comparison.compare(params, "lima", "unfiltered")
    assert Difference("pool", "kept", "unfiltered") in compared.recipe
    assert not [row for row in compared.recipe if row.name.startswith(("train.", "seed."))]
    # lima draws 6 of Stack Exchange and 4 of the authors, unfiltered the first 10 of Stack Exchange
    assert compared.overlap == Overlap(shared=6, shared_prompts=6, only_first=4, only_second=4)
    assert Difference("examples of authored", "4", "–") in compared.data
    # perplexity of epoch 2: 9.1 + 0.8, and 0.3 more without filters
    assert Difference("held-out perplexity", "9.900", "10.200") in compared.results
    assert Difference("forms.kept", "0.500", "0.250") in compared.results
    assert compared.evaluations[0].evaluation == "lima-unfiltered"  # the direct one first
    page = arm_comparison.render(compared)
    assert "6 training examples are in both arms, 4 only in lima, 4 only in unfiltered" in page
    assert "+0.500" in page
    assert "+0.100 to +0.800" in page


def test_an_arm_that_was_trained_with_other_settings_shows_them(params):
    path = Path("data/train/unfiltered/run.json")
    path.write_text(path.read_text().replace('"train.epochs":"2"', '"train.epochs":"9"'))
    assert Difference("train.epochs", "2", "9") in arm_comparison.compare(params, "lima", "unfiltered").recipe


def test_an_arm_without_training_is_compared_by_its_data(params):
    for stage in ("train", "select"):
        shutil.rmtree(f"data/{stage}/unfiltered")
    page = arm_comparison.render(arm_comparison.compare(params, "lima", "unfiltered"))
    assert "unfiltered is not trained" in page
    assert "kept" in page


def test_unknown_equal_and_missing_arms_are_refused(params):
    with pytest.raises(ParamsError, match="unknown arm: 'limma'"):
        arm_comparison.compare(params, "lima", "limma")
    with pytest.raises(arm_comparison.NotComparable, match="the same arm twice: lima"):
        arm_comparison.compare(params, "lima", "lima")
    shutil.rmtree("data/mix/unfiltered")
    with pytest.raises(arm_comparison.NotComparable, match="run `dvc repro mix@unfiltered`"):
        arm_comparison.compare(params, "lima", "unfiltered")
