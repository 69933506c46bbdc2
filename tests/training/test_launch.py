import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small
from accelerate.commands.config import load_config_from_file
from conftest import free_port

from lima.training.launch import LaunchError

ROOT = Path(__file__).parents[2]
RANK = Path(__file__).with_name("rank.py")


def test_processes_that_do_not_know_of_each_other_are_stopped(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        LaunchError, match=r"2 processes were launched, but each believes to be one of 1.*train\.launch"
    ):
        small.accelerator(small.recipe())


@pytest.mark.parametrize(("precision", "expected"), [("bf16", "bf16"), ("fp32", "no")])
def test_the_recipes_precision_is_that_of_the_computation(precision, expected):
    assert small.accelerator(small.recipe(precision=precision)).mixed_precision == expected


@pytest.mark.parametrize(("name", "kind"), [("zero3", "DEEPSPEED"), ("ddp", "MULTI_GPU")])
def test_accelerate_reads_the_launch_configurations(name, kind):
    config = load_config_from_file(str(ROOT / f"infra/accelerate/{name}.yaml"))
    assert (config.distributed_type, config.num_processes, config.mixed_precision) == (kind, 8, "bf16")


def test_zero3_shards_everything_and_saves_whole_checkpoints():
    deepspeed = load_config_from_file(str(ROOT / "infra/accelerate/zero3.yaml")).deepspeed_config
    assert deepspeed["zero_stage"] == 3
    assert deepspeed["zero3_save_16bit_model"] is True
    assert deepspeed["gradient_accumulation_steps"] == 1


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    small.start(tmp_path, small.recipe())  # both read the same base
    # `accelerate launch --cpu` starts one process only, whatever it is told, but under mpirun
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    told = {}
    for ranks, words in {1: [], 2: launcher}.items():
        out = tmp_path / f"{ranks}.json"
        command = [sys.executable, *words, str(RANK), str(tmp_path), str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr
        told[ranks] = json.loads(out.read_text())
    assert [told[ranks]["ranks"] for ranks in (1, 2)] == [1, 2]
    assert len(told[1]["steps"]) == 6  # 7 examples in fives, three times
    for one, two in zip(told[1]["steps"], told[2]["steps"], strict=True):
        # in fp32 the order of summation shifts the sixth digit
        assert two == pytest.approx(one, rel=1e-4)
