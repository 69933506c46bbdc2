"""Training with two processes: the result of one, states that any number of processes continues, failures of one."""

import shutil
import socket

import pytest
import small
import torch
from ranks import HAS_COMPILER, Launcher
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lima.training import training_state

pytestmark = pytest.mark.slow
ALL = {"one": {"processes": 1}, "two": {}, "zero2": {"zero": "zero2"}, "zero3": {"zero": "zero3"}}
NAMES = [name for name in ALL if HAS_COMPILER or "zero" not in name]
STOP = 3  # of six steps: 7 examples in fives, three times


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    small.start(folder, small.recipe())  # all read the same base
    launcher = Launcher(folder, deepspeed=HAS_COMPILER)
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def whole(launcher):
    """Steps of uninterrupted runs, by the way of starting them."""
    return {name: launcher.steps(name, **ALL[name], check=True, checkpoints=True) for name in NAMES}


@pytest.fixture(scope="module")
def stopped(launcher):
    """Working folders of runs that were stopped after STOP steps."""
    folders = {name: launcher.folder / f"stopped-{name}" for name in NAMES}
    for name, folder in folders.items():
        launcher.steps(folder.name, **ALL[name], working=folder, stop=STOP)
    return folders


def newest(working):
    return max((working / "states").glob("state-*"))


def test_two_processes_train_as_one_does_with_a_copy_each_and_sharded(launcher, whole):
    # a checkpoint of each is whole, and bare transformers loads it
    folders = {name: launcher.folder / name / "epoch-03" for name in NAMES}
    weights = {name: AutoModelForCausalLM.from_pretrained(folder).state_dict() for name, folder in folders.items()}
    assert len(whole["one"]) == 6
    for name in NAMES:
        for one, other in zip(whole["one"], whole[name], strict=True):
            # in fp32 the order of summation shifts the sixth digit
            assert other == pytest.approx(one, rel=1e-4)
        for key, weight in weights["one"].items():
            # stored in bf16, whose last place is 2^-8 of a weight; six steps move one by at most 6e-3
            torch.testing.assert_close(weights[name][key], weight, rtol=2**-7, atol=2e-4)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *(("one", "two"), ("two", "one"), ("two", "two")),
        *(("zero2", "zero2"), ("zero3", "zero3")),
        *(("zero3", "one"), ("two", "zero3"), ("one", "zero2")),
    ],
)
def test_a_state_continues_on_other_numbers_of_processes_and_ways_of_sharding(before, after, launcher, whole, stopped):
    if {before, after} - set(NAMES):
        pytest.skip("DeepSpeed compiles its CPU kernels with g++")
    working = launcher.folder / f"{before}-{after}"
    shutil.copytree(stopped[before], working)
    steps = launcher.steps(working.name, **ALL[after], working=working)
    assert steps[:STOP] == whole[before][:STOP]  # repeated from the state, not computed
    if before == after:
        assert steps == whole[after]
    assert torch.allclose(torch.tensor(steps), torch.tensor(whole[after]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_each_tensor_is_written_once_and_bytes_are_balanced(name, stopped):
    files = {path.name: load_file(path) for path in newest(stopped[name]).glob("*.safetensors")}
    one = {path.name: load_file(path) for path in newest(stopped["one"]).glob("*.safetensors")}

    def tensors(files):
        return sorted((name.split("-")[0], key) for name, content in files.items() for key in content)

    assert tensors(files) == tensors(one)
    if name == "one":
        assert files.keys() == {f"{stem}-00001.safetensors" for stem in training_state.STEMS}
        return
    written = [
        sum(t.nbytes for name, content in files.items() if f"-process{rank:05}-" in name for t in content.values())
        for rank in range(2)
    ]
    largest = max(tensor.nbytes for content in files.values() for tensor in content.values())
    assert min(written) > 0 and abs(written[0] - written[1]) <= largest


@pytest.mark.parametrize("name", [name for name in NAMES if name in ("two", "zero3")])
def test_killing_a_process_while_it_writes_its_part_loses_only_the_steps_since_the_state_before(name, launcher, whole):
    working = launcher.folder / f"killed-{name}"
    # three files a state: the first or the second state was not complete
    for kill, (rank, file, expected) in enumerate([(1, 2, 0), (0, 5, 1), (1, 5, 2), (0, 1, 2)]):
        before = newest(working) if kill > 1 else None
        outcome = launcher.run(
            f"killed-{name}-{kill}",
            **ALL[name],
            working=working,
            recipe={"state_minutes": 0.0},
            fault={"kind": "kill", "rank": rank, "file": file},
            awaited=f"{working.name}/states/state-{expected:09}-*" if expected else "*",
        )
        assert outcome.statuses[rank] == -9 and any(outcome.statuses)
        reached = [path.name for path in sorted((working / "states").glob("state-*"))]
        assert [int(state.split("-")[1]) for state in reached] == ([expected] if expected else [])
        assert before is None or kill < 3 or newest(working) == before
    assert list((working / "states").glob("unfinished-*"))
    assert launcher.steps(f"resumed-{name}", **ALL[name], working=working) == whole[name]
    assert not list((working / "states").glob("unfinished-*"))


@pytest.mark.parametrize(
    ("kind", "messages"),
    [
        ("full", ["No space left on device (process 1 on {host})", "No space left on device"]),
        ("error", ["process 1 on {host} failed to write its part of the training state in ", "RuntimeError: broken"]),
    ],
)
def test_the_main_process_reports_that_another_could_not_write_its_part(kind, messages, launcher, whole):
    working = launcher.folder / kind
    outcome = launcher.run(
        kind,
        working=working,
        recipe={"state_minutes": 0.0},
        fault={"kind": kind, "rank": 1, "file": 5},
        grace=120.0,  # the main process ends by itself
    )
    assert outcome.statuses == [1, 1]
    for log, message in zip(outcome.logs, messages, strict=True):
        assert message.format(host=socket.gethostname()) in log
    assert [path.name for path in (working / "states").glob("state-*")] == ["state-000000001-0001"]
    assert launcher.steps(f"{kind}-resumed", working=working) == whole["two"]


def test_a_part_that_does_not_arrive_is_an_error(launcher):
    working = launcher.folder / "hanging"
    fault = {"kind": "hang", "rank": 1, "file": 1}
    outcome = launcher.run("hanging", working=working, stop=1, fault=fault, limits={"PART_SECONDS": 0.5})
    assert outcome.statuses == [1, -9]
    assert f"of process 1 on {socket.gethostname()} in {working / 'states'}" in outcome.logs[0]
    assert not list((working / "states").glob("state-*"))


def test_a_state_is_published_after_the_last_part(launcher, whole):
    working = launcher.folder / "late"
    fault = {"kind": "late", "rank": 1, "file": 1}
    assert launcher.steps("late", working=working, stop=1, fault=fault) == whole["two"][:1]
    assert launcher.steps("late-resumed", working=working) == whole["two"]


def test_processes_that_do_not_share_the_folder_end_before_the_first_step(launcher):
    folders = [launcher.folder / "node-0", launcher.folder / "node-1"]
    outcome = launcher.run("unshared", working=folders, limits={"SHARED_SECONDS": 0.2}, grace=120.0)
    assert outcome.statuses == [1, 1]
    for log in outcome.logs:
        assert f"process 1 on {socket.gethostname()} does not see the main process's file" in log


def final_tensors(working):
    assert newest(working).name.startswith("state-000000006")
    content = {path.name: load_file(path) for path in newest(working).glob("*.safetensors")}
    return {(name, key): tensor for name, tensors in content.items() for key, tensor in tensors.items()}


@pytest.mark.parametrize("processes", [2, 3])
def test_deterministic_runs_of_several_processes_are_equal_to_the_bit_also_when_resumed(processes, launcher):
    folders = [launcher.folder / f"{kind}-{processes}" for kind in ("whole", "resumed")]
    options = {"processes": processes, "recipe": {"residual_dropout": 0.3, "deterministic": True}}
    one = launcher.steps(folders[0].name, working=folders[0], **options)
    # the third step has five examples: all processes add to its gradients, whose order in a sum counts
    launcher.steps(f"stopped-{processes}", working=folders[1], stop=2, **options)
    assert launcher.steps(folders[1].name, working=folders[1], **options) == one
    tensors, same = (final_tensors(folder) for folder in folders)
    assert tensors.keys() == same.keys()
    assert [key for key in tensors if not torch.equal(tensors[key], same[key])] == []
