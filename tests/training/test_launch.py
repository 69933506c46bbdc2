import json
from pathlib import Path

import pytest
import small
import torch
from accelerate.commands.config import load_config_from_file
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel

from lima.inference import model as generation
from lima.training import base_model, launch, packing
from lima.training.launch import LaunchError
from lima.training.loss import LossModel
from lima.training.tokenization import Encoded

ROOT = Path(__file__).parents[2]


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
