"""Which process writes which tensor of a state, and how the main process waits for the parts of the others."""

import errno
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lima.training import host_memory, state_parts, training_state
from lima.training.checkpoint import CheckpointError
from lima.training.state_parts import Processes, owners

MAIN, OTHER = (Processes("run", rank, ("a", "b")) for rank in range(2))


def test_tensors_are_given_to_the_process_with_the_fewest_bytes_by_falling_size():
    # 7 → 0; 5 → 1; 4 → 1 (9); 3 → 0 (10); 1 → 1 (10)
    assert owners([1, 7, 3, 5, 4], 2) == [1, 0, 0, 1, 1]
    assert owners([1, 7, 3], 1) == [0, 0, 0]
    assert owners([4, 4], 3) == [0, 1]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 9))
def test_no_process_has_more_than_the_mean_and_one_tensor(sizes, processes):
    loads = [0] * processes
    for owner, size in zip(owners(sizes, processes), sizes, strict=True):
        loads[owner] += size
    assert sum(loads) == sum(sizes)
    assert max(loads) <= sum(sizes) / processes + max(sizes)


def test_the_main_process_waits_for_the_other_parts(tmp_path):
    def write():
        time.sleep(0.2)
        finished.append("part")
        state_parts.publish(tmp_path, OTHER, {"x": "digest"})

    finished = []
    threading.Thread(target=write).start()
    assert state_parts.collect(tmp_path, MAIN) == {"x": "digest"}
    assert finished == ["part"]
    assert not list(tmp_path.iterdir())


def test_a_part_of_another_start_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(state_parts, "PART_SECONDS", 0.1)
    earlier = Processes("earlier", 1, ("a", "b"))
    folder = earlier.unfinished(tmp_path, 1)
    folder.mkdir()
    state_parts.publish(folder, earlier, {"x": "digest"})
    with pytest.raises(CheckpointError, match=r"missing parts of the training state .* of process 1 on b in .*run-1; "):
        state_parts.collect(MAIN.unfinished(tmp_path, 1), MAIN)


def test_a_part_is_waited_for_as_long_as_its_files_grow(tmp_path, monkeypatch):
    """Each pause of the main process takes 300 seconds of 600; in every second one a byte is written."""
    monkeypatch.setattr(state_parts, "PART_SECONDS", 600.0)
    pauses = []

    def pause(_):
        pauses.append(300.0)
        if len(pauses) % 2 == 0:
            with (tmp_path / "weight-process00001-00001.safetensors").open("ab") as file:
                file.write(b"0")
        if len(pauses) == 20:
            state_parts.publish(tmp_path, OTHER, {})

    monkeypatch.setattr(state_parts, "time", SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pause))
    assert state_parts.collect(tmp_path, MAIN) == {}
    assert len(pauses) == 20


def test_a_failed_process_removes_its_files_and_its_error_is_raised_in_the_main_process(tmp_path):
    own, main = (tmp_path / processes.stem("weight") for processes in (OTHER, MAIN))
    files = [path.with_name(f"{path.name}-00001.safetensors") for path in (own, main)]
    for file in files:
        file.touch()
    with pytest.raises(OSError, match="full"), state_parts.report_failure(tmp_path, OTHER):
        raise OSError(errno.ENOSPC, "full")
    assert [file.exists() for file in files] == [False, True]
    with pytest.raises(OSError, match=r"full \(process 1 on b\)") as raised:
        state_parts.collect(tmp_path, MAIN)
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize(("hosts", "fits"), [(("a", "a"), False), (("a", "b"), True)])
def test_the_copies_of_all_processes_of_a_node_have_to_fit_into_its_memory(hosts, fits, tmp_path, monkeypatch):
    model = torch.nn.ModuleList([torch.nn.Linear(10, 10, bias=False) for _ in range(4)])
    # four weights and their moments: 3 · 4 · 4 · 100 bytes, of which half of the available memory holds the half
    monkeypatch.setattr(host_memory, "available", lambda: 2 * (3 * 4 * 4 * 100 // 2))
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda t: t, is_main_process=True, unwrap_model=lambda model: model
    )
    states = training_state.TrainingStates(tmp_path, accelerator, Processes("run", 0, hosts))
    assert states._copies_fit(model, states._owners(model)) == fits
