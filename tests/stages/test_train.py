import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import jsonl
from lima.errors import LimaError
from lima.params import ParamsError, RandomModel
from lima.records import EpochMetrics, Example, FailedExpectation, Gate, Provenance, StepMetrics, Turn
from lima.stages import train
from lima.stages.train import TrainError

ROOT = Path(__file__).parents[2]
PLACE = Provenance(source="authored", site="A", id="1", url="", author="ann", licence="MIT", digest="0")
MODEL = {"kind": "random", "layers": 2, "hidden": 32, "heads": 2, "context": 128}
MIXED, RESULT = Path("data/mix/lima"), Path("data/train/lima")


def set_params(**changes):
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["models"]["random"] = MODEL
    values["train"] |= {"model": "random", "epochs": 3, "batch_size": 2, "max_tokens": 40, "precision": "fp32"}
    values["train"] |= changes
    values["select"] |= {"first_epoch": 1, "last_epoch": 1}
    yaml.dump(values, Path("params.yaml"))


def set_gate(passed=True, digest=None):
    digest = digest or hashlib.sha256((MIXED / "train.jsonl").read_bytes()).hexdigest()
    failures = () if passed else (FailedExpectation(split="train", says="unique", observed="2", ids=("a",)),)
    gate = Gate(arm="lima", passed=passed, train_digest=digest, expectations=9, failures=failures)
    jsonl.write(Path("data/validate/lima/gate.json"), [gate])


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Five examples that passed the gate, one held out, an untrained base, and no tracking server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps one a process
    from lima.training import base

    set_params()
    base.write(RandomModel(**MODEL), Path("data/base/random"), seed=1)
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
    assert json.loads((RESULT / "run.json").read_text()) == {"run_id": ""}
    said = capsys.readouterr()
    assert said.out.startswith(f"lima: loss {epochs[0].train_loss:.3f} → {epochs[-1].train_loss:.3f}, ")
    assert said.err.count("warning: MLflow does not take this run") == 1


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


def test_without_a_gate_there_is_no_training(checkout):
    Path("data/validate/lima/gate.json").unlink()
    assert "there is no data/validate/lima/gate.json" in refused(LimaError)


def test_an_empty_gate_is_a_shut_one(checkout):
    Path("data/validate/lima/gate.json").write_text("")
    assert "data/validate/lima/gate.json is shut" in refused()


def test_a_shut_gate_lets_nothing_pass(checkout):
    set_gate(passed=False)
    said = "data/validate/lima/gate.json is shut: the data of arm lima did not pass; "
    assert refused() == said + "run `dvc repro validate@lima` and see"


def test_a_gate_of_other_data_lets_nothing_pass(checkout):
    with (MIXED / "train.jsonl").open("a") as lines:
        lines.write((MIXED / "train.jsonl").read_text().splitlines(keepends=True)[0])
    assert "gate.json is of another data/mix/lima/train.jsonl than the one that is there" in refused()


def test_too_little_room_is_told_before_anything_is_trained(checkout, monkeypatch):
    needed = 3 * Path("data/base/random/model.safetensors").stat().st_size
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, needed - 1))
    assert "3 checkpoints need 0.0 GB, and 0.0 GB are free below" in refused()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, needed))
    train.main("lima")


def test_an_unknown_arm_is_told_which_there_are(checkout):
    with pytest.raises(ParamsError, match=r"there is no arm 'llama'; params\.yaml has lima"):
        train.main("llama")


def test_a_kill_in_the_middle_leaves_the_older_result_as_it_was(checkout):
    RESULT.mkdir(parents=True)
    (RESULT / "old").write_text("as it was")
    set_params(epochs=2000)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "lima.stages.train", "lima"], env=environment)
    begun = Path("work/train/lima/epoch-02")
    until = time.monotonic() + 120
    while not begun.exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [(path.name, path.read_text()) for path in RESULT.iterdir()] == [("old", "as it was")]
    set_params(epochs=1)
    train.main("lima")
    assert not (RESULT / "old").exists()
    assert [path.name for path in RESULT.glob("epoch-*")] == ["epoch-01"]
