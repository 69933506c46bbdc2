import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import jsonl, mlflow_runs, storage
from lima.config import ParamsError
from lima.config.entries import RandomModel
from lima.errors import LimaError
from lima.mlflow_runs import StepSpeed
from lima.records import EpochMetrics, Example, FailedExpectation, Provenance, StepMetrics, Turn, ValidationResult
from lima.stages import train
from lima.stages.train import TrainError
from lima.training.disk_space import InsufficientDiskSpace
from lima.training.selfcheck import SelfCheckFailed

ROOT = Path(__file__).parents[2]
PLACE = Provenance(source="authored_short", site="A", id="1", url="", author="ann", license="MIT", digest="0")
MODEL = {"kind": "random", "layers": 2, "hidden": 32, "heads": 2, "context": 128}
MIXED, RESULT = Path("data/mix/lima"), Path("data/train/lima")
FIRST_EPOCH = Path("work/train/lima/result/epoch-01")
HOLD = Path("hold")  # of forking.py


def set_params(**changes):
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["models"]["random"] = MODEL
    values["train"] |= {"model": "random", "epochs": 3, "batch_size": 2, "max_tokens": 40, "precision": "fp32"}
    values["train"] |= {
        "gradient_checkpointing": False,
        "state_minutes": 60.0,
        "keep_epochs": [1, changes.get("epochs", 3)],
    }
    values["train"] |= changes
    first = values["train"]["keep_epochs"][0]
    values["select"] |= {"first_epoch": first, "last_epoch": first}
    yaml.dump(values, Path("params.yaml"))


def set_gate(passed=True, digest=None):
    digest = digest or hashlib.sha256((MIXED / "train.jsonl").read_bytes()).hexdigest()
    failures = () if passed else (FailedExpectation(split="train", says="unique", observed="2", ids=("a",)),)
    gate = ValidationResult(arm="lima", passed=passed, train_digest=digest, expectations=9, failures=failures)
    jsonl.write(Path("data/validate/lima/gate.json"), [gate])


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Five examples that passed the gate, one held out, an untrained base, and no tracking server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # it will not be there a second later
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps one a process
    from lima.training import base_model

    set_params()
    base_model.write(RandomModel(**MODEL), Path("data/base/random"), seed=1)
    examples = [
        Example(
            id=f"authored/A/{number}",
            messages=(Turn(role="user", content="Why?"), Turn(role="assistant", content="So. " * number)),
            tags=(),
            provenance=PLACE,
        )
        for number in (1, 2, 3, 4, 20)
    ]
    jsonl.write(MIXED / "train.jsonl", examples)
    jsonl.write(MIXED / "held_out.jsonl", examples[:1])
    set_gate()
    return tmp_path


def test_training_writes_a_checkpoint_an_epoch_and_its_metrics(checkout, capsys):
    train.main("lima")
    assert sorted(path.name for path in RESULT.iterdir()) == [
        "epoch-01",
        "epoch-02",
        "epoch-03",
        "epochs.jsonl",
        "run.json",
        "speed.jsonl",
        "steps.jsonl",
        "tokens.json",
    ]
    steps = list(jsonl.read(RESULT / "steps.jsonl", StepMetrics))
    epochs = list(jsonl.read(RESULT / "epochs.jsonl", EpochMetrics))
    assert [step.step for step in steps] == list(range(1, 10))  # five examples in twos: three steps an epoch
    assert [epoch.checkpoint for epoch in epochs] == ["epoch-01", "epoch-02", "epoch-03"]
    for epoch in epochs:
        weights = (RESULT / epoch.checkpoint / "model.safetensors").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == epoch.digest
    assert len({epoch.digest for epoch in epochs}) == 3
    described = mlflow_runs.read(RESULT)
    assert described.run_id == ""
    assert (described.parameters["train.epochs"], described.parameters["sources.authored_short"]) == ("3", "5")
    assert (described.tags["arm"], described.tags["size"]) == ("lima", "5")
    assert described.tags["data"] == hashlib.sha256((MIXED / "train.jsonl").read_bytes()).hexdigest()
    said = capsys.readouterr()
    assert said.out.startswith(f"lima: loss {epochs[0].train_loss:.3f} → {epochs[-1].train_loss:.3f}, ")
    assert said.err.count("warning: MLflow is not available") == 1


def test_tokens_tell_what_was_cut(checkout):
    train.main("lima")
    # a byte a token: "Why?" and EOT 5; "So." 3, with each further "So. " 4 more, and EOT 1
    lengths = [5 + 4 * number for number in (1, 2, 3, 4)]
    long = 5 + 4 * 20
    told = json.loads((RESULT / "tokens.json").read_text())
    if told["cut_tokens"] == long + 1 - 40:  # a template that does not trim keeps the last space
        lengths, long = [length + 1 for length in lengths], long + 1
    assert told == {
        "examples": 5,
        "cut_examples": 1,
        "cut_tokens": long - 40,
        "tokens": sum(lengths) + 40,
        "supervised_tokens": sum(lengths) + 40 - 5 * 5,
    }


def test_held_out_examples_that_are_cut_before_their_response_are_named(checkout, capsys):
    held_out = list(jsonl.read(MIXED / "held_out.jsonl", Example))
    long = held_out[0].model_copy(
        update={"id": "authored/A/long", "messages": (Turn(role="user", content="Why? " * 20), held_out[0].messages[1])}
    )
    jsonl.write(MIXED / "held_out.jsonl", [*held_out, long])
    set_params(epochs=1)
    train.main("lima")
    errors = capsys.readouterr().err
    assert "no comparison" not in errors
    assert (
        "warning: 1 of 2 held-out examples have no supervised token within train.max_tokens 40, so the perplexity "
        "excludes them: authored/A/long\n"
    ) in errors


def test_an_arm_that_is_compared_with_nothing_is_named(checkout, capsys):
    set_params(epochs=1)
    yaml = YAML()
    values = yaml.load(Path("params.yaml"))
    values["evaluations"] = {}
    yaml.dump(values, Path("params.yaml"))
    train.main("lima")
    assert (
        "warning: arm lima has no comparison; add a comparison of the contestant lima to evaluations in params.yaml"
        in capsys.readouterr().err.splitlines()
    )


def test_a_model_that_would_train_wrongly_is_refused_before_the_first_step(checkout, monkeypatch):
    from lima.training import loss

    monkeypatch.setattr(loss, "logit_scale", lambda _: 0.5)
    assert re.match(
        r"LlamaForCausalLM fails the self-check before training: loss equals the model's own: expected \d+\.\d{4}, "
        r"got \d+\.\d{4} \(tolerance 0\.0001 \(relative\)\); .*; choose a base model of an architecture that",
        refused(SelfCheckFailed),
    )
    assert not list(Path("work/train/lima").rglob("steps.jsonl"))


def test_the_same_seed_trains_the_same_weights(checkout):
    digests = []
    for _ in range(2):
        train.main("lima")
        digests.append([epoch.digest for epoch in jsonl.read(RESULT / "epochs.jsonl", EpochMetrics)])
    assert digests[0] == digests[1]


def refused(error=TrainError):
    """What is said where training is refused, the older result being left as it was."""
    RESULT.mkdir(parents=True)
    (RESULT / "old").touch()
    with pytest.raises(error) as caught:
        train.main("lima")
    assert [path.name for path in RESULT.iterdir()] == ["old"]
    return str(caught.value)


def test_training_requires_a_validation_result(checkout):
    Path("data/validate/lima/gate.json").unlink()
    assert "data/validate/lima/gate.json not found" in refused(LimaError)


def test_an_empty_validation_result_stops_training(checkout):
    Path("data/validate/lima/gate.json").write_text("")
    assert "validation failed for arm lima: data/validate/lima/gate.json" in refused()


def test_failed_validation_stops_training(checkout):
    set_gate(passed=False)
    message = "validation failed for arm lima: data/validate/lima/gate.json; run `dvc repro validate@lima` for details"
    assert refused() == message


def test_a_validation_result_of_other_data_stops_training(checkout):
    with (MIXED / "train.jsonl").open("a") as lines:
        lines.write((MIXED / "train.jsonl").read_text().splitlines(keepends=True)[0])
    assert "gate.json does not match the current data/mix/lima/train.jsonl" in refused()


def test_too_little_room_is_told_before_anything_is_trained(checkout, monkeypatch):
    # 257 embeddings of 32, two layers of 4 · 32² + 3 · 32 · 128 + 2 · 32, and a last norm: 41,152 parameters
    # three checkpoints in bf16, two states of three fp32 numbers: 3 · 2 + 2 · 12 = 30 bytes each
    needed = 30 * 41_152
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, needed - 1))
    message = "1.23 MB free, 1.23 MB needed for the checkpoints of epochs 1 to 3 and two training states"
    assert message in refused(InsufficientDiskSpace)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, needed))
    train.main("lima")


def test_another_disk_below_data_must_take_the_checkpoints(checkout, monkeypatch):
    from lima.config import load
    from lima.training import disk_space

    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == Path().stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    working, recipe = Path("work/train/lima"), load().train
    needed = 3 * 2 * 41_152  # three checkpoints in bf16
    with tempfile.TemporaryDirectory(dir=shared) as other:
        RESULT.parent.symlink_to(other)
        for free, fits in ((needed - 1, False), (needed, True)):
            usage = namedtuple("usage", "total used free")
            room_of = {working: usage(10**12, 0, 10**12), RESULT.parent: usage(10**12, 0, free)}
            monkeypatch.setattr(shutil, "disk_usage", room_of.__getitem__)
            with (
                nullcontext()
                if fits
                else pytest.raises(InsufficientDiskSpace, match=f"not enough disk space in {other}: ")
            ):
                disk_space.check(Path("data/base/random"), working, RESULT, recipe)


def test_an_unknown_arm_is_told_which_there_are(checkout):
    with pytest.raises(ParamsError, match=r"unknown arm: 'llama'; params\.yaml has lima"):
        train.main("llama")


def test_only_the_epochs_to_keep_leave_a_checkpoint(checkout):
    set_params(keep_epochs=[2, 2])
    train.main("lima")
    assert [path.name for path in RESULT.glob("epoch-*")] == ["epoch-02"]
    epochs = list(jsonl.read(RESULT / "epochs.jsonl", EpochMetrics))
    assert [(epoch.epoch, epoch.checkpoint, bool(epoch.digest)) for epoch in epochs] == [
        (1, "", False),
        (2, "epoch-02", True),
        (3, "", False),
    ]


def test_nothing_is_left_in_the_working_folder(checkout):
    train.main("lima")
    assert not Path("work/train/lima").exists()


def untrained(monkeypatch):
    """From here on, no step is computed."""
    from lima.training import trainer

    def computed(*words, **rest):
        raise AssertionError("a step is computed again")

    monkeypatch.setattr(trainer, "train_step", computed)


def test_a_kill_between_publishing_and_forgetting_the_state_loses_nothing(checkout, monkeypatch):
    from lima.training import training_state

    def kill(kept):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training_state.TrainingStates, "invalidate", kill)
        train.main("lima")
    published = result()
    shutil.rmtree(RESULT)  # as dvc does with a stage's outputs before it starts the stage
    untrained(monkeypatch)
    train.main("lima")
    assert result() == published
    assert not Path("work/train/lima").exists()


def test_a_full_disk_below_data_loses_nothing_of_a_training(checkout, monkeypatch):
    def full(*words, **rest):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched, pytest.raises(storage.DiskFull, match="data/train: No space left on device"):
        patched.setattr(os, "link", full)
        patched.setattr(shutil, "copy2", full)
        train.main("lima")
    assert not RESULT.exists()
    untrained(monkeypatch)
    train.main("lima")
    assert (RESULT / "epoch-03/model.safetensors").exists()


def test_a_full_disk_while_a_state_is_written_is_reported_and_training_continues_later(checkout, monkeypatch):
    from lima.training import state_files

    set_params(state_minutes=0.0)
    write = state_files.write

    def full(path, tensors):
        if reached() == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, tensors)

    with monkeypatch.context() as patched, pytest.raises(storage.DiskFull, match="work/train/lima: No space left"):
        patched.setattr(state_files, "write", full)
        train.main("lima")
    assert reached() == 4
    assert not RESULT.exists()
    train.main("lima")
    resumed = result()
    shutil.rmtree(RESULT)
    train.main("lima")
    assert result() == resumed


def test_sigterm_ends_training_after_the_step_with_its_status_and_the_same_command_goes_on(forking):
    train.main("lima")
    undisturbed = result()
    shutil.rmtree(RESULT)
    process = held(forking, FIRST_EPOCH)
    os.kill(process, signal.SIGTERM)
    HOLD.unlink()
    assert status(forking) == 128 + signal.SIGTERM
    assert not RESULT.exists()
    state = next(Path("work/train/lima/states").glob("state-*")).name
    assert 3 <= int(state.split("-")[1]) < 9  # five examples in twos, three epochs: nine steps
    train.main("lima")
    assert result() == undisturbed


def test_ctrl_c_ends_training_after_the_step_and_the_same_command_continues(forking):
    train.main("lima")
    undisturbed = result()
    shutil.rmtree(RESULT)
    process = held(forking, FIRST_EPOCH)
    os.kill(process, signal.SIGINT)
    HOLD.unlink()
    assert status(forking) == 128 + signal.SIGINT
    assert 3 <= reached() < 9
    train.main("lima")
    assert result() == undisturbed


def test_a_second_ctrl_c_ends_training_at_once(forking):
    process = held(forking, Path("stepping"))  # in its first step, which does not end
    assert handles_sigint(process)
    os.kill(process, signal.SIGINT)
    until(lambda: not handles_sigint(process))  # the kernel may deliver two at once as one
    os.kill(process, signal.SIGINT)
    assert status(forking) == -signal.SIGINT
    assert reached() == 0


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_prints_one_line_and_no_traceback(checkout):
    """A terminal sends SIGINT to the whole process group."""
    set_params(epochs=400, keep_epochs=[400, 400], state_minutes=0.0)
    process = subprocess.Popen(
        [sys.executable, "-m", "lima.stages.train", "lima"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    past(5)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"lima: stopped at step {reached()}; the same command continues"
    assert "Traceback" not in said


@pytest.mark.slow
def test_twenty_kills_at_random_moments_of_a_run_change_nothing_to_the_bit(forking):
    set_params(residual_dropout=0.3, epochs=6, state_minutes=0.0, micro_batch_tokens=50)
    train.main("lima")
    undisturbed = result()
    shutil.rmtree(RESULT)
    moments, kills, places = random.Random(4), 0, set()
    while kills < 20:
        goal = reached() + moments.randrange(4)  # of 18 steps; 0 is a kill before the first
        process = training(forking, seconds_a_step=0.02)
        past(goal)
        time.sleep(moments.uniform(0, 0.04))
        with suppress(ProcessLookupError):  # it may have ended
            os.kill(process, signal.SIGKILL)
        kills += status(forking) == -signal.SIGKILL
        places.add(tuple(sorted(str(path) for path in Path("work/train/lima").glob("*/*"))))
        if RESULT.exists():  # it had ended before it was killed: once more from the start
            assert result() == undisturbed
            shutil.rmtree(RESULT)
    assert len(places) > 5  # states, checkpoints and what was unfinished: the kills came at different moments
    train.main("lima")
    assert result() == undisturbed


def result():
    """Every file below the result as bytes, metrics without their seconds."""
    found = {}
    for path in sorted(RESULT.rglob("*")):
        if path.name == "steps.jsonl":
            found[path.name] = [metric.model_dump(exclude={"seconds"}) for metric in jsonl.read(path, StepMetrics)]
        elif path.name == "speed.jsonl":
            found[path.name] = [speed.step for speed in jsonl.read(path, StepSpeed)]
        elif path.name == "run.json":
            found[path.name] = (mlflow_runs.read(RESULT).parameters, mlflow_runs.read(RESULT).tags)
        elif path.is_file():
            found[str(path)] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def forks():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    script = [sys.executable, str(Path(__file__).with_name("forking.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(script, env=environment, **pipes) as process:
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        yield process
        process.stdin.close()


@pytest.fixture
def forking(forks, checkout):
    """A process that forks others which train: `training(forking)` gives an id, `status(forking)` how it ended."""
    return forks


def training(forking, *, seconds_a_step=0.0):
    forking.stdin.write(f"{seconds_a_step} {Path.cwd()}\n")
    forking.stdin.flush()
    return int(forking.stdout.readline())


def status(forking):
    return int(forking.stdout.readline())


def reached():
    """The step after which the latest state was saved, 0 where there is none."""
    states = Path("work/train/lima/states").glob("state-?????????-*")
    return max((int(path.name.split("-")[1]) for path in states), default=0)


def past(step):
    """Return when the state after a step is there, or training has ended."""
    until(lambda: RESULT.exists() or reached() >= step)


def until(true):
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def held(forking, path):
    """Start a training that stays in the first step in which the path exists; returns its id in that step."""
    HOLD.write_text(str(path))
    process = training(forking)
    until(path.exists)
    return process


def handles_sigint(process):
    """Whether the process has a handler of its own for SIGINT."""
    [caught] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)


def test_a_kill_in_the_middle_leaves_the_older_result_as_it_was(forking):
    RESULT.mkdir(parents=True)
    (RESULT / "old").write_text("as it was")
    process = held(forking, FIRST_EPOCH)
    os.kill(process, signal.SIGKILL)
    assert status(forking) == -signal.SIGKILL
    HOLD.unlink()
    assert [(path.name, path.read_text()) for path in RESULT.iterdir()] == [("old", "as it was")]
    set_params(epochs=1)  # another recipe: nothing of the killed run is used
    train.main("lima")
    assert not (RESULT / "old").exists()
    assert [path.name for path in RESULT.glob("epoch-*")] == ["epoch-01"]


LAUNCHER = f"""#!{sys.executable}
import os, sys
print("launched", *sys.argv[1:], os.environ["LIMA_LAUNCHED"])
"""


def launched(checkout, command, **variables):
    program = checkout / "launcher"
    program.write_text(LAUNCHER)
    program.chmod(0o755)
    set_params(launch=command)
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = [sys.executable, "-m", "lima.stages.train", "lima"]
    return subprocess.run(words, env=env | variables, capture_output=True, text=True, timeout=300)


def test_the_launch_command_starts_the_training_processes(checkout):
    done = launched(checkout, "./launcher --config_file 'a b.yaml'")
    assert done.stdout == "launched --config_file a b.yaml -m lima.stages.train lima 1\n"


def test_a_variable_replaces_the_launch_command_of_one_node(checkout):
    done = launched(checkout, "accelerate launch", LIMA_LAUNCH="./launcher --machine_rank 1")
    assert done.stdout == "launched --machine_rank 1 -m lima.stages.train lima 1\n"


def test_a_launch_command_without_a_program_is_an_error(checkout):
    done = launched(checkout, "no-such-launcher --x 1")
    assert (done.returncode, done.stderr) == (
        1,
        "error: program not found: no-such-launcher, of the launch command; correct train.launch or LIMA_LAUNCH\n",
    )
