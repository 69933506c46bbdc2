"""States are written on a thread from a copy in memory, with digests; errors are raised before the next step."""

import hashlib
import threading

import pytest
import small
import torch
from safetensors.torch import load_file

from lima.training import host_memory, state_files, training_state
from lima.training.trainer import TrainingInterrupted

RECIPE = {"residual_dropout": 0.3, "micro_batch_tokens": 60, "epochs": 2, "batch_size": 2}  # 4 steps an epoch


@pytest.fixture
def paused(monkeypatch):
    """Writing a state waits for the first event; the second is set when it waits."""
    go_on, waits = threading.Event(), threading.Event()
    write = state_files.write_all

    def wait_and_write(folder, stem, tensors):
        waits.set()
        assert go_on.wait(60)
        return write(folder, stem, tensors)

    monkeypatch.setattr(state_files, "write_all", wait_and_write)
    yield go_on, waits
    go_on.set()


def training(folder, recipe, **options):
    """The states of a run, and its metrics."""
    model, _, _, encoded = small.start(folder, recipe)
    accelerator = small.accelerator(recipe)
    states = training_state.open_states(folder / "work", accelerator, data=[], base=[], recipe=recipe)
    metrics = small.fitted(
        model, encoded, encoded[:2], recipe=recipe, accelerator=accelerator, states=states, **options
    )
    return states, metrics


def tensors_after(folder, step):
    """Tensors of the state of a run that is stopped after a step."""
    count = []
    recipe = small.recipe(**RECIPE)
    states, metrics = training(folder, recipe, should_stop=lambda: count.append(1) or len(count) >= step)
    with pytest.raises(TrainingInterrupted):
        list(metrics)
    return loaded(states)


def loaded(states):
    return {f"{file.name} {k}": v for file in states.newest().glob("*.safetensors") for k, v in load_file(file).items()}


def test_training_goes_on_while_a_state_is_written_which_has_the_values_of_its_step(tmp_path, paused):
    go_on, waits = paused
    recipe = small.recipe(**RECIPE)
    states, metrics = training(tmp_path, recipe)
    for _ in range(4 + 1):  # four steps, and the epoch, whose state is now written
        next(metrics)
    assert waits.wait(60)
    for _ in range(3):
        next(metrics)
    assert states.newest() is None
    go_on.set()
    states.wait()
    assert states.newest().name == "state-000000004-0002"
    written = loaded(states)
    metrics.close()
    expected = tensors_after(tmp_path / "other", 4)
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())


def test_an_error_of_writing_is_raised_before_the_next_step(tmp_path, monkeypatch):
    def fail(folder, stem, tensors):
        raise OSError(5, "broken disk")

    def save_and_await_the_thread(*words):
        save(*words)
        assert str(states._writing.exception(60)) == "[Errno 5] broken disk"

    monkeypatch.setattr(state_files, "write_all", fail)
    states, metrics = training(tmp_path, small.recipe(**RECIPE, state_minutes=0.0))
    save, states.save = states.save, save_and_await_the_thread
    next(metrics)
    with pytest.raises(OSError, match="broken disk"):
        next(metrics)  # saves the state of the first step


def test_the_last_state_is_written_before_training_ends(tmp_path):
    states, metrics = training(tmp_path, small.recipe(**RECIPE))
    list(metrics)
    assert states.newest().name == "state-000000008-0003"


def test_without_memory_for_a_copy_training_waits_until_the_same_files_are_written(tmp_path, monkeypatch, capsys):
    recipe = small.recipe(**RECIPE, state_minutes=0.0)
    copied, metrics = training(tmp_path / "copied", recipe)
    list(metrics)
    assert "training waits" not in capsys.readouterr().err
    monkeypatch.setattr(host_memory, "available", lambda: 10**5)
    states, metrics = training(tmp_path / "waiting", recipe)
    for number, _ in enumerate(metrics):
        assert states._writing is None
        # the state of a step is there when the next metric is yielded
        assert states.newest() is None if not number else states.newest().name.startswith("state-00000000")
    log = capsys.readouterr().err
    assert log.count("training waits while its state is written: a copy takes 0.0 GB, and 0.0 GB of host memory") == 1
    for name in ("weight-00001.safetensors", "exp_avg-00001.safetensors", "exp_avg_sq-00001.safetensors"):
        assert (states.newest() / name).read_bytes() == (copied.newest() / name).read_bytes()


def test_files_are_read_by_safetensors_and_have_the_digests_that_were_computed_while_writing(tmp_path):
    tensors = {
        "matrix": torch.arange(12.0).view(3, 4),
        "transposed": torch.arange(6.0).view(2, 3).T,
        "number": torch.tensor(7.0),
        "empty": torch.zeros(0, 5),
        "ü": torch.tensor([-0.0, torch.inf]),
    }
    digest = state_files.write(tmp_path / "x.safetensors", tensors)
    assert digest == hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()
    again = load_file(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    assert all(again[name].shape == tensor.shape for name, tensor in tensors.items())
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    with pytest.raises(TypeError, match="not fp32: half"):
        state_files.write(tmp_path / "y.safetensors", {"half": torch.ones(2).bfloat16()})


def test_changed_and_missing_files_are_named(tmp_path):
    digests = {name: state_files.write(tmp_path / name, {"x": torch.ones(2)}) for name in ("a", "b", "c")}
    assert state_files.changed(tmp_path, digests) == []
    (tmp_path / "b").write_bytes(b"other")
    (tmp_path / "c").unlink()
    assert state_files.changed(tmp_path, digests) == ["b", "c"]


def test_the_memory_limit_of_a_container_counts(tmp_path):
    free = host_memory.available(tmp_path / "none")
    assert free > 10**6
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 300000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory.available(tmp_path) > 10**6
    (tmp_path / "memory.max").write_text("1000000\n")
    assert host_memory.available(tmp_path) == 1_000_000 - 900_000 + 300_000
