import pytest
import small
import torch
from safetensors.torch import load_file

from lima.records import EpochMetrics, StepMetrics
from lima.training import states
from lima.training.checkpoint import CheckpointError
from lima.training.fit import Stopped
from lima.training.steps import dropout_seed

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
    return states.keep(working, small.accelerator(recipe), inputs=changes.pop("inputs", []), recipe=recipe)


@pytest.mark.parametrize("step", range(1, 9))
def test_a_run_stopped_after_any_step_and_continued_is_the_undisturbed_one_to_the_bit(step, tmp_path):
    recipe = small.recipe(**DROPPING)
    weights, metrics = run(tmp_path, recipe)
    kept = keep(tmp_path / "work", recipe)
    with pytest.raises(Stopped, match=rf"stopped at step {step}$"):
        run(tmp_path, recipe, kept, stop_after=step)
    again, told = run(tmp_path, recipe, keep(tmp_path / "work", recipe))
    assert told == metrics
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_adams_states_are_continued_to_the_bit(tmp_path):
    recipe = small.recipe(**DROPPING)
    whole, parts = keep(tmp_path / "one", recipe), keep(tmp_path / "two", recipe)
    run(tmp_path, recipe, whole)
    with pytest.raises(Stopped):
        run(tmp_path, recipe, parts, stop_after=3)
    run(tmp_path, recipe, parts)
    for name in states.FILES[:3]:
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


@pytest.mark.parametrize("name", states.FILES)
def test_a_state_that_was_changed_is_refused_with_the_files_name_and_the_way_out(name, tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = keep(tmp_path / "work", recipe)
    with pytest.raises(Stopped):
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
    (kept.folder / "unfinished" / states.FILES[0]).write_bytes(b"torn")
    assert kept.newest() is None
    weights, metrics = run(tmp_path, recipe)
    again, told = run(tmp_path, recipe, kept)
    assert told == metrics
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_other_data_another_recipe_or_more_processes_never_continue_an_old_run(tmp_path, monkeypatch):
    recipe, data = small.recipe(**DROPPING), tmp_path / "train.jsonl"
    data.write_text("one")
    mark = tmp_path / "work" / "mark"

    def kept(change=recipe):
        keep(tmp_path / "work", change, inputs=[data])
        was_there = mark.exists()
        mark.touch()
        return was_there

    assert [kept(), kept()] == [False, True]
    assert kept(small.recipe(**DROPPING, state_steps=5)) and kept(
        small.recipe(**DROPPING, launch="other")
    )  # same result
    assert [kept(small.recipe(**DROPPING, lr=2e-3)), kept(), kept()] == [False, False, True]
    data.write_text("two")
    assert [kept(), kept()] == [False, True]
    monkeypatch.setattr(torch, "__version__", "0")
    assert [kept(), kept()] == [False, True]


def test_metrics_come_back_from_a_state_as_they_were(tmp_path):
    recipe = small.recipe(**DROPPING)
    kept = keep(tmp_path / "work", recipe)
    with pytest.raises(Stopped):
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
