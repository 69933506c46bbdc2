import shutil
import time
from pathlib import Path

import pytest
import small
import torch
from safetensors.torch import load_file

from lima.records import EpochMetrics, StepMetrics
from lima.training import fingerprint, state_files, training_state
from lima.training.checkpoint import CheckpointError
from lima.training.trainer import TrainingInterrupted, dropout_seed

TENSORS = [f"{stem}-00001.safetensors" for stem in (training_state.WEIGHT, *training_state.MOMENTS)]
DROPPING = {"residual_dropout": 0.3, "micro_batch_tokens": 60, "epochs": 2, "batch_size": 2}  # 4 steps an epoch


def run(folder, recipe, kept=None, *, stop_after=None):
    """The weights after training, and the metrics without their seconds."""
    model, _, _, encoded = small.start(folder, recipe)
    log = []
    should_stop = (lambda: sum("step" in metric for metric in log) + 1 >= stop_after) if stop_after else None
    metrics = small.fitted(
        model,
        encoded,
        encoded[:2],
        recipe=recipe,
        accelerator=small.accelerator(recipe),
        states=kept,
        should_stop=should_stop,
    )
    for metric in metrics:
        log.append(metric.model_dump(exclude={"seconds"}))
    return model.state_dict(), log


def open_states(working, recipe, **changes):
    return training_state.open_states(
        working, small.accelerator(recipe), recipe=recipe, **{"data": [], "base": []} | changes
    )


@pytest.mark.parametrize("step", range(1, 9))
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_run(step, tmp_path):
    recipe = small.recipe(**DROPPING)
    weights, metrics = run(tmp_path, recipe)
    kept = open_states(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted, match=rf"stopped at step {step}$"):
        run(tmp_path, recipe, kept, stop_after=step)
    again, log = run(tmp_path, recipe, open_states(tmp_path / "work", recipe))
    assert log == metrics
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_resumed_adam_states_are_bit_identical(tmp_path):
    recipe = small.recipe(**DROPPING)
    uninterrupted, resumed = open_states(tmp_path / "one", recipe), open_states(tmp_path / "two", recipe)
    run(tmp_path, recipe, uninterrupted)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, resumed, stop_after=3)
    run(tmp_path, recipe, resumed)
    for name in TENSORS:
        one, two = (load_file(kept.newest() / name) for kept in (uninterrupted, resumed))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name


def test_states_are_saved_after_state_minutes_and_epochs_and_replace_older_ones(tmp_path, monkeypatch):
    seconds = iter(range(0, 10_000, 40))  # each look at the clock is 40 s after the one before
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    recipe = small.recipe(**DROPPING, state_minutes=2.0)
    kept, seen = open_states(tmp_path / "work", recipe), []
    model, _, _, encoded = small.start(tmp_path, recipe)
    for _ in small.fitted(
        model, encoded, encoded[:2], recipe=recipe, accelerator=small.accelerator(recipe), states=kept
    ):
        kept.wait()
        seen.append([path.name for path in kept.folder.glob("*")] if kept.folder.exists() else [])
    # eight steps and two epochs: the third step begins 120 s after the start, and its state is there at the next metric
    assert seen[2:5] == [[], ["state-000000003-0001"], ["state-000000004-0002"]]
    # the epoch's state begins a new interval, of which 120 s have passed before the seventh step
    assert seen[6:9] == [["state-000000004-0002"], ["state-000000004-0002"], ["state-000000007-0002"]]
    assert seen[-1] == ["state-000000008-0003"]


@pytest.mark.parametrize("name", [*TENSORS, "steps.jsonl", "epochs.jsonl"])
def test_a_changed_state_is_refused_with_the_file_and_the_fix(name, tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = open_states(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, kept, stop_after=5)
    file = kept.newest() / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=rf"changed files in .*: {name} \(digests differ.*remove {kept.folder} to train"
    ):
        run(tmp_path, recipe, kept)


def test_a_missing_file_and_a_state_of_another_version_are_refused(tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = open_states(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, kept, stop_after=5)
    (kept.newest() / TENSORS[1]).unlink()
    with pytest.raises(CheckpointError, match=rf"changed files in .*: {TENSORS[1]} "):
        run(tmp_path, recipe, kept)
    (kept.newest() / training_state.DIGESTS).write_text('{"files": ["0"]}')
    with pytest.raises(CheckpointError, match=r"not a training state of this version: .*digests.json; remove"):
        run(tmp_path, recipe, kept)


def test_tensors_are_written_to_several_files_of_bounded_size_and_read_again(tmp_path, monkeypatch):
    recipe = small.recipe(**DROPPING)
    weights, metrics = run(tmp_path, recipe)
    monkeypatch.setattr(state_files, "FILE_BYTES", 5000)
    kept = open_states(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, kept, stop_after=5)
    files = sorted(kept.newest().glob("exp_avg-*.safetensors"))
    tensors = [load_file(file) for file in files]
    assert len(files) > 3
    for content in tensors:
        assert len(content) == 1 or sum(tensor.nbytes for tensor in content.values()) <= 5000
    assert any(len(content) > 1 for content in tensors)
    again, log = run(tmp_path, recipe, open_states(tmp_path / "work", recipe))
    assert log == metrics
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_an_unfinished_state_is_ignored(tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = open_states(tmp_path / "work", recipe)
    (kept.folder / "unfinished").mkdir(parents=True)
    (kept.folder / "unfinished" / TENSORS[0]).write_bytes(b"torn")
    assert kept.newest() is None
    weights, metrics = run(tmp_path, recipe)
    again, log = run(tmp_path, recipe, kept)
    assert log == metrics
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


@pytest.fixture
def started(tmp_path, capsys):
    """A run with a saved state after step 43; `start` starts a run and returns its standard error."""
    data, base = tmp_path / "train.jsonl", tmp_path / "config.json"
    data.write_text("one")
    base.write_text("{}")

    def start(**changes):
        open_states(tmp_path / "work", small.recipe(**DROPPING | changes), data=[data], base=[base])
        return capsys.readouterr().err

    assert start() == ""
    (tmp_path / "work/states/state-000000043-0015").mkdir(parents=True)
    (tmp_path / "work/states/state-000000043-0015/steps.jsonl").write_text("state 43")
    return start


def saved_states(folder):
    return [state.read_text() for state in folder.rglob("state-000000043-0015/steps.jsonl")]


def test_settings_without_effect_on_a_step_keep_the_state(started, tmp_path):
    for changes in (
        {},
        {"state_minutes": 5.0},
        {"launch": "x"},
        {"micro_batch_tokens": 9},
        {"gradient_checkpointing": True},
    ):
        assert started(**changes) == ""
        assert saved_states(tmp_path / "work") == ["state 43"]
    assert not training_state.incompatible_states(tmp_path / "work").exists()


CHANGES = {
    "train.lr 0.001 → 0.002": lambda folder, patch: {"lr": 2e-3},
    "train.seed 17 → 18": lambda folder, patch: {"seed": 18},
    "data: train.jsonl changed": lambda folder, patch: (folder / "train.jsonl").write_text("two") and {},
    "base model: config.json changed": lambda folder, patch: (folder / "config.json").write_text("[]") and {},
    f"torch {torch.__version__} → 0": lambda folder, patch: patch.setattr(torch, "__version__", "0") or {},
    "format of saved states 1 → 2": lambda folder, patch: patch.setattr(fingerprint, "FORMAT", 2) or {},
}


@pytest.mark.parametrize("reason", CHANGES)
def test_an_incompatible_state_is_moved_away_with_the_reason_and_back_when_it_fits(
    reason, started, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        message = started(**CHANGES[reason](tmp_path, patched))
    [moved] = training_state.incompatible_states(tmp_path / "work").iterdir()
    expected = f"the training state in {tmp_path / 'work'} (step 43) does not fit this run: {reason}. "
    assert expected + f"It is moved to {moved}; to continue it, revert the change and run again" in message
    assert message.count("\n") == 1
    assert saved_states(moved) == ["state 43"] and not saved_states(tmp_path / "work")
    (tmp_path / "train.jsonl").write_text("one")
    (tmp_path / "config.json").write_text("{}")
    assert started() == f"{tmp_path / 'work'}: continuing the state of {moved}\n"
    assert saved_states(tmp_path / "work") == ["state 43"]


def test_all_differences_are_listed(started, tmp_path):
    (tmp_path / "train.jsonl").write_text("two")
    assert "this run: data: train.jsonl changed; train.lr 0.001 → 0.002; train.seed 17 → 18. " in started(
        lr=2e-3, seed=18
    )


def test_a_run_without_a_state_is_replaced_without_a_warning(started, tmp_path):
    started(seed=18)  # has saved none yet
    assert started(seed=19) == ""
    assert len(list(training_state.incompatible_states(tmp_path / "work").iterdir())) == 1


def test_at_most_three_incompatible_states_are_kept_and_the_oldest_is_removed_with_a_warning(started, tmp_path):
    for seed in range(18, 21):
        assert "removing" not in started(seed=seed)
        (tmp_path / "work/states/state-000000001-0001").mkdir(parents=True)
    [oldest] = training_state.incompatible_states(tmp_path / "work").glob("state-000000043-*")
    assert f"warning: removing {oldest}: at most 3 incompatible states are kept" in started(seed=21)
    left = sorted(path.name[:20] for path in training_state.incompatible_states(tmp_path / "work").iterdir())
    assert left == ["state-000000001-0001"] * 3


def test_a_state_of_an_earlier_version_is_moved_away(started, tmp_path):
    (tmp_path / "work" / training_state.INPUTS).rename(tmp_path / "work" / training_state.EARLIER_KEY)
    assert "does not fit this run: its inputs.json is missing. " in started()
    [moved] = training_state.incompatible_states(tmp_path / "work").iterdir()
    assert saved_states(moved) == ["state 43"]


def test_the_states_of_a_finished_run_are_not_kept(started, tmp_path):
    training_state.TrainingStates(tmp_path / "work", None, None).invalidate()
    assert started(seed=18) == ""
    assert not training_state.incompatible_states(tmp_path / "work").exists()


def copied_code(folder, monkeypatch):
    """A copy of lima/training that the fingerprint is computed from."""
    copy = folder / "training"
    shutil.copytree(Path(fingerprint.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "__file__", str(copy / "fingerprint.py"))
    return copy


@pytest.mark.parametrize(
    ("module", "before", "after", "difference"),
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
def test_only_code_that_computes_a_step_changes_the_fingerprint(
    module, before, after, difference, tmp_path, monkeypatch
):
    copy = copied_code(tmp_path, monkeypatch)
    old = fingerprint.compute(data=[], base=[], recipe=small.recipe())
    path = copy / f"{module}.py"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    assert (
        "; ".join(fingerprint.differences(old, fingerprint.compute(data=[], base=[], recipe=small.recipe())))
        == difference
    )


def test_new_and_missing_modules_are_named(tmp_path, monkeypatch):
    copy = copied_code(tmp_path, monkeypatch)
    old = fingerprint.compute(data=[], base=[], recipe=small.recipe())
    (copy / "packing.py").rename(copy / "warmup.py")
    new = fingerprint.compute(data=[], base=[], recipe=small.recipe())
    expected = ["code: lima/training/packing.py is missing", "code: lima/training/warmup.py is new"]
    assert fingerprint.differences(old, new) == expected


def test_the_excluded_modules_and_settings_exist(tmp_path):
    folder = Path(fingerprint.__file__).parent
    assert {name for name in fingerprint.MODULES_WITHOUT_EFFECT if not (folder / f"{name}.py").exists()} == set()
    assert small.recipe().model_dump().keys() >= fingerprint.SETTINGS_WITHOUT_EFFECT


def test_a_state_restores_the_metrics(tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = open_states(tmp_path / "work", recipe)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, recipe, kept, stop_after=6)
    model, *_ = small.start(tmp_path, recipe)
    loss_model = torch.nn.ModuleDict({"model": model})
    progress = kept.load(loss_model, torch.optim.AdamW(model.parameters(), lr=1))
    assert (progress.steps, progress.epoch, len(progress.epoch_steps())) == (6, 2, 2)
    kinds = [type(metric) for metric in progress.metrics()]
    assert kinds == [StepMetrics] * 4 + [EpochMetrics] + [StepMetrics] * 2


def test_dropout_seeds_depend_on_seed_step_and_micro_batch():
    seeds = [dropout_seed(*numbers) for numbers in [(1, 2, 3), (1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 4
