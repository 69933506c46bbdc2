import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small
import torch
from accelerate.commands.config import load_config_from_file
from conftest import free_port
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel

from lima.inference import model as generation
from lima.records import StepMetrics
from lima.training import base_model, launch, packing, training_state
from lima.training.launch import LaunchError
from lima.training.loss import LossModel
from lima.training.tokenization import Encoded
from lima.training.trainer import TrainingInterrupted

ROOT = Path(__file__).parents[2]
RANK = Path(__file__).with_name("rank.py")


def test_unconnected_processes_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LaunchError, match=r"2 processes were launched, but Accelerate reports 1.*train\.launch"):
        small.accelerator(small.recipe())


@pytest.mark.parametrize(("precision", "expected"), [("bf16", "bf16"), ("fp32", "no")])
def test_the_computation_has_the_recipes_precision(precision, expected):
    assert small.accelerator(small.recipe(precision=precision)).mixed_precision == expected


def gpt2(folder):
    """A model with 16 learned positions."""
    _, tokenizer = base_model.load(small.MODEL, seed=1)
    sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    ends = {"bos_token_id": 256, "eos_token_id": 256}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rotary(folder):
    base_model.write(small.MODEL.model_copy(update={"context": 16}), folder, seed=1)
    return folder


@pytest.mark.parametrize("model", [gpt2, rotary])
def test_max_tokens_above_the_models_positions_is_an_error(tmp_path, model):
    folder = model(tmp_path / "base")
    with pytest.raises(
        LaunchError,
        match=r"train\.max_tokens 17 exceeds the 16 positions of .*base .*; set train\.max_tokens to at most 16",
    ):
        launch.starting_point(folder, small.recipe(max_tokens=17))
    trained, _, _ = launch.starting_point(folder, small.recipe(max_tokens=16))
    batch = packing.pack([Encoded(name, tuple(range(16)), tuple(range(16)), 0) for name in "ab"])
    assert torch.isfinite(LossModel(trained)(batch))


def test_a_model_without_a_position_limit_accepts_any_length(tmp_path):
    BloomForCausalLM(BloomConfig(vocab_size=257, hidden_size=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    launch.refuse_missing_positions(tmp_path, 10**6)


def test_cudnn_attention_is_disabled_in_training_and_generation(tmp_path):
    for start in (
        lambda: small.start(tmp_path, small.recipe()),
        lambda: generation.load(tmp_path / "base", precision="fp32"),
    ):
        torch.backends.cuda.enable_cudnn_sdp(True)
        start()
        assert not torch.backends.cuda.cudnn_sdp_enabled()


CONFIGURATIONS = {path.stem: path for path in (ROOT / "infra/accelerate").glob("*.yaml")}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_accelerate_reads_the_launch_configurations(name):
    config = load_config_from_file(str(CONFIGURATIONS[name]))
    assert config.distributed_type == ("MULTI_GPU" if name == "ddp" else "DEEPSPEED")
    assert config.num_processes == 8 * config.num_machines
    assert f"--config_file infra/accelerate/{name}.yaml" in CONFIGURATIONS[name].read_text()


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS.keys() - {"ddp"}))
def test_a_launch_configuration_names_the_zero_stage_that_its_own_name_says(name):
    named = load_config_from_file(str(CONFIGURATIONS[name])).deepspeed_config["deepspeed_config_file"]
    deepspeed = json.loads((ROOT / named).read_text())
    assert deepspeed["zero_optimization"]["stage"] == int(name.removeprefix("zero")[0])
    assert ("offload_optimizer" in deepspeed["zero_optimization"]) == ("offload" in name)
    assert deepspeed["gradient_accumulation_steps"] == 1  # the loop sums a step's micro-batches itself
    assert deepspeed["data_types"] == {"grad_accum_dtype": "fp32"}
    if deepspeed["zero_optimization"]["stage"] == 3:
        assert deepspeed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]  # whole checkpoints


def run_ranks(name, folder, *words, processes=1, zero=None):
    """Steps of rank.py; `zero` names a configuration of DeepSpeed."""
    out = folder / f"{name}.json"
    # `accelerate launch --cpu` starts one process only, except under mpirun
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={free_port()}"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ACCELERATE_USE_CPU": "true"}
    if zero:
        environment |= {"ACCELERATE_USE_DEEPSPEED": "true"}
        environment |= {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(ROOT / f"infra/deepspeed/{zero}.json")}
    command = [sys.executable, *(launcher if processes > 1 else []), str(RANK), str(folder), str(out), "fp32"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=environment, cwd=folder, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "does not fit" not in done.stderr
    result = json.loads(out.read_text())
    assert result["ranks"] == processes
    return result["steps"]


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles its CPU kernels with g++")


@pytest.mark.slow
@needs_compiler
def test_two_processes_train_as_one_does_with_a_copy_each_and_under_zero3(tmp_path):
    small.start(tmp_path, small.recipe())  # all read the same base
    steps = {
        "one": run_ranks("one", tmp_path),
        "two": run_ranks("two", tmp_path, processes=2),
        "zero3": run_ranks("zero3", tmp_path, processes=2, zero="zero3"),
    }
    # a checkpoint of each is whole, and bare transformers loads it
    weights = {name: AutoModelForCausalLM.from_pretrained(tmp_path / name / "epoch-03").state_dict() for name in steps}
    assert len(steps["one"]) == 6  # 7 examples in fives, three times
    for name in ("two", "zero3"):
        for one, other in zip(steps["one"], steps[name], strict=True):
            # in fp32 the order of summation shifts the sixth digit
            assert other == pytest.approx(one, rel=1e-4)
        for key, weight in weights["one"].items():
            # stored in bf16, whose last place is 2^-8 of a weight; six steps move one by at most 6e-3
            torch.testing.assert_close(weights[name][key], weight, rtol=2**-7, atol=2e-4)
    # a sharded run that was stopped continues bit-identically, and its state also without DeepSpeed
    assert run_ranks("stopped", tmp_path, str(tmp_path / "work"), "3", processes=2, zero="zero3") == steps["zero3"][:3]
    shutil.copytree(tmp_path / "work", tmp_path / "copy")
    assert run_ranks("again", tmp_path, str(tmp_path / "work"), processes=2, zero="zero3") == steps["zero3"]
    alone = run_ranks("alone", tmp_path, str(tmp_path / "copy"))
    assert alone[:3] == steps["zero3"][:3]
    assert torch.allclose(torch.tensor(alone), torch.tensor(steps["zero3"]), rtol=1e-4, atol=0)


@pytest.mark.slow
def test_two_processes_continue_the_state_of_one(tmp_path):
    recipe = small.recipe(batch_size=5, micro_batch_tokens=60, epochs=3, precision="fp32")

    def alone(**more):
        model, _, _, encoded = small.start(tmp_path, recipe)
        one = small.accelerator(recipe)
        steps = []
        for metric in small.fitted(model, encoded, encoded[:2], recipe=recipe, accelerator=one, **more):
            if isinstance(metric, StepMetrics):
                steps.append([metric.loss, metric.grad_norm])
        return steps

    uninterrupted = alone()
    kept = training_state.open_states(tmp_path / "work", small.accelerator(recipe), data=[], base=[], recipe=recipe)
    requests = iter([False, False, True])
    with pytest.raises(TrainingInterrupted, match=r"stopped at step 3$"):
        alone(states=kept, should_stop=lambda: next(requests))
    results = run_ranks("two", tmp_path, str(tmp_path / "work"), processes=2)
    assert results[:3] == uninterrupted[:3]  # repeated from the state, not computed
    assert results[3:] != uninterrupted[3:]  # summed in another order
    assert torch.allclose(torch.tensor(results), torch.tensor(uninterrupted), rtol=0, atol=1e-4)
