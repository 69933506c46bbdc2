import shutil
from pathlib import Path

import pytest
import small
import torch
from safetensors.torch import load_file

from lima.records import EpochMetrics, StepMetrics
from lima.training import fingerprint, training_state
from lima.training.checkpoint import CheckpointError
from lima.training.trainer import TrainingInterrupted, dropout_seed

DROPPING = {"residual_dropout": 0.3, "micro_batch_tokens": 60, "epochs": 2, "batch_size": 2}  # 4 steps an epoch


def run(folder, recipe, kept=None, *, stop_after=None):
    """The weights after training, and the metrics without their seconds."""
    model, _, _, encoded = small.start(folder, recipe)
    told = []
    stopping = (lambda: sum("step" in metric for metric in told) + 1 >= stop_after) if stop_after else None
    metrics = small.fitted(
        model,
        encoded,
        encoded[:2],
        recipe=recipe,
        accelerator=small.accelerator(recipe),
        states=kept,
        stopping=stopping,
    )
    for metric in metrics:
        told.append(metric.model_dump(exclude={"seconds"}))
    return model.state_dict(), told


def keep(working, recipe, **changes):
    return training_state.keep(working, small.accelerator(recipe), recipe=recipe, **{"data": [], "base": []} | changes)


@pytest.mark.parametrize("step", range(1, 9))
def test_a_run_stopped_after_any_step_and_continued_is_the_undisturbed_one_to_the_bit(step, tmp_path):
    recipe = small.recipe(**DROPPING)
    weights, metrics = run(tmp_path, recipe)
    kept = keep(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted, match=rf"stopped at step {step}$"):
        run(tmp_path, recipe, kept, stop_after=step)
    again, told = run(tmp_path, recipe, keep(tmp_path / "work", recipe))
    assert told == metrics
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_adams_states_are_continued_to_the_bit(tmp_path):
    recipe = small.recipe(**DROPPING)
    whole, parts = keep(tmp_path / "one", recipe), keep(tmp_path / "two", recipe)
    run(tmp_path, recipe, whole)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, parts, stop_after=3)
    run(tmp_path, recipe, parts)
    for name in training_state.FILES[:3]:
        one, two = (load_file(kept.newest() / name) for kept in (whole, parts))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name


def test_states_come_every_so_many_steps_and_at_each_epochs_end_and_only_the_newest_stays(tmp_path):
    recipe = small.recipe(**DROPPING, state_steps=3)
    kept, seen = keep(tmp_path / "work", recipe), []
    model, _, _, encoded = small.start(tmp_path, recipe)
    for _ in small.fitted(
        model, encoded, encoded[:2], recipe=recipe, accelerator=small.accelerator(recipe), states=kept
    ):
        seen.append([path.name for path in kept.folder.glob("*")] if kept.folder.exists() else [])
    # eight steps and two epochs; what is there when a metric is told was written before it or after the one before
    assert seen[2:5] == [[], ["state-000000003-0001"], ["state-000000004-0002"]]
    assert seen[-1] == ["state-000000008-0003"]


@pytest.mark.parametrize("name", training_state.FILES)
def test_a_state_that_was_changed_is_refused_with_the_files_name_and_the_way_out(name, tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = keep(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, kept, stop_after=5)
    file = kept.newest() / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"\({name} no longer have the digests.*remove {kept.folder} to train"):
        run(tmp_path, recipe, kept)


def test_a_state_that_was_not_finished_is_no_state(tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = keep(tmp_path / "work", recipe)
    (kept.folder / "unfinished").mkdir(parents=True)
    (kept.folder / "unfinished" / training_state.FILES[0]).write_bytes(b"torn")
    assert kept.newest() is None
    weights, metrics = run(tmp_path, recipe)
    again, told = run(tmp_path, recipe, kept)
    assert told == metrics
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


@pytest.fixture
def started(tmp_path, capsys):
    """A run whose state was saved after step 43; `start` starts again, and returns what it says on standard error."""
    data, base = tmp_path / "train.jsonl", tmp_path / "config.json"
    data.write_text("one")
    base.write_text("{}")

    def start(**changes):
        keep(tmp_path / "work", small.recipe(**DROPPING | changes), data=[data], base=[base])
        return capsys.readouterr().err

    assert start() == ""
    (tmp_path / "work/states/state-000000043-0015").mkdir(parents=True)
    (tmp_path / "work/states/state-000000043-0015/steps.jsonl").write_text("the one")
    return start


def at(folder):
    return [state.read_text() for state in folder.rglob("state-000000043-0015/steps.jsonl")]


def test_a_changed_setting_that_changes_no_step_keeps_the_state(started, tmp_path):
    for changes in (
        {},
        {"state_steps": 5},
        {"launch": "x"},
        {"micro_batch_tokens": 9},
        {"gradient_checkpointing": True},
    ):
        assert started(**changes) == ""
        assert at(tmp_path / "work") == ["the one"]
    assert not training_state.aside(tmp_path / "work").exists()


CHANGES = {
    "train.lr 0.001 → 0.002": lambda folder, patch: {"lr": 2e-3},
    "train.seed 17 → 18": lambda folder, patch: {"seed": 18},
    "data: train.jsonl changed": lambda folder, patch: (folder / "train.jsonl").write_text("two") and {},
    "base model: config.json changed": lambda folder, patch: (folder / "config.json").write_text("[]") and {},
    f"torch {torch.__version__} → 0": lambda folder, patch: patch.setattr(torch, "__version__", "0") or {},
    "the format of saved states 1 → 2": lambda folder, patch: patch.setattr(fingerprint, "FORMAT", 2) or {},
}


@pytest.mark.parametrize("told", CHANGES)
def test_a_state_that_does_not_fit_is_moved_aside_with_the_reason_and_back_when_it_fits(
    told, started, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        said = started(**CHANGES[told](tmp_path, patched))
    [place] = training_state.aside(tmp_path / "work").iterdir()
    expected = f"work holds the state of an earlier run after step 43, which does not fit this one: {told}. "
    assert expected + f"It is moved to {place}; to continue it, undo that and start again" in said
    assert said.count("\n") == 1
    assert at(place) == ["the one"] and not at(tmp_path / "work")
    (tmp_path / "train.jsonl").write_text("one")
    (tmp_path / "config.json").write_text("{}")
    assert started() == f"{tmp_path / 'work'}: the state of {place} fits, and is continued\n"
    assert at(tmp_path / "work") == ["the one"]


def test_several_reasons_are_all_told(started, tmp_path):
    (tmp_path / "train.jsonl").write_text("two")
    assert "this one: data: train.jsonl changed; train.lr 0.001 → 0.002; train.seed 17 → 18. " in started(
        lr=2e-3, seed=18
    )


def test_a_run_without_a_state_is_replaced_without_a_word(started, tmp_path):
    started(seed=18)  # has saved none yet
    assert started(seed=19) == ""
    assert len(list(training_state.aside(tmp_path / "work").iterdir())) == 1


def test_at_most_three_states_are_kept_aside_and_the_oldest_goes_with_a_word(started, tmp_path):
    for seed in range(18, 21):
        assert "is removed" not in started(seed=seed)
        (tmp_path / "work/states/state-000000001-0001").mkdir(parents=True)
    [oldest] = training_state.aside(tmp_path / "work").glob("state-000000043-*")
    assert f"warning: {oldest} is removed: at most 3 states are kept there" in started(seed=21)
    left = sorted(path.name[:20] for path in training_state.aside(tmp_path / "work").iterdir())
    assert left == ["state-000000001-0001"] * 3


def test_a_state_of_an_earlier_version_is_moved_aside(started, tmp_path):
    (tmp_path / "work" / training_state.INPUTS).rename(tmp_path / "work" / training_state.EARLIER_KEY)
    assert "which does not fit this one: it does not say what it was computed from. " in started()
    [place] = training_state.aside(tmp_path / "work").iterdir()
    assert at(place) == ["the one"]


def test_what_a_finished_run_left_is_no_state_to_keep(started, tmp_path):
    training_state.TrainingStates(tmp_path / "work", None).forget()
    assert started(seed=18) == ""
    assert not training_state.aside(tmp_path / "work").exists()


def copied_code(folder, monkeypatch):
    """lima/training as a copy, which the fingerprint is taken of."""
    here = folder / "training"
    shutil.copytree(Path(fingerprint.__file__).parent, here, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "__file__", str(here / "fingerprint.py"))
    return here


@pytest.mark.parametrize(
    ("module", "before", "after", "told"),
    [
        ("trainer", "import math", "import math  # for isfinite", ""),
        ("trainer", '"""One optimizer step', '"""A step of the optimizer', ""),
        ("trainer", "max(1, steps - 1)", "max(\n        1,\n        (steps - 1),\n    )", ""),
        ("throughput", "SIDE, TRIES = 512, 5", "SIDE, TRIES = 256, 9", ""),
        ("disk_space", "1e9", "2e9", ""),
        ("trainer", "steps - 1)", "steps - 2)", "code: lima/training/trainer.py changed"),
        ("trainer", "step.supervised)", "step.tokens)", "code: lima/training/trainer.py changed"),
        ("loss", "0", "1", "code: lima/training/loss.py changed"),
    ],
)
def test_code_counts_where_it_computes_a_step_and_comments_never(module, before, after, told, tmp_path, monkeypatch):
    here = copied_code(tmp_path, monkeypatch)
    old = fingerprint.of(data=[], base=[], recipe=small.recipe())
    path = here / f"{module}.py"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    assert "; ".join(fingerprint.differences(old, fingerprint.of(data=[], base=[], recipe=small.recipe()))) == told


def test_a_module_that_is_new_or_missing_is_named(tmp_path, monkeypatch):
    here = copied_code(tmp_path, monkeypatch)
    old = fingerprint.of(data=[], base=[], recipe=small.recipe())
    (here / "packing.py").rename(here / "warmup.py")
    new = fingerprint.of(data=[], base=[], recipe=small.recipe())
    told = ["code: lima/training/packing.py is missing", "code: lima/training/warmup.py is new"]
    assert fingerprint.differences(old, new) == told


def test_the_modules_and_settings_that_do_not_count_exist(tmp_path):
    folder = Path(fingerprint.__file__).parent
    assert {name for name in fingerprint.MODULES_WITHOUT_EFFECT if not (folder / f"{name}.py").exists()} == set()
    assert small.recipe().model_dump().keys() >= fingerprint.SETTINGS_WITHOUT_EFFECT


def test_metrics_come_back_from_a_state_as_they_were(tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = keep(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, kept, stop_after=6)
    model, *_ = small.start(tmp_path, recipe)
    learner = torch.nn.ModuleDict({"model": model})
    progress = kept.load(learner, torch.optim.AdamW(model.parameters(), lr=1))
    assert (progress.steps, progress.epoch, len(progress.under_way())) == (6, 2, 2)
    kinds = [type(metric) for metric in progress.told()]
    assert kinds == [StepMetrics] * 4 + [EpochMetrics] + [StepMetrics] * 2


def test_what_dropout_draws_is_a_function_of_seed_step_and_micro_batch():
    seeds = [dropout_seed(*numbers) for numbers in [(1, 2, 3), (1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 4
