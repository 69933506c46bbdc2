"""train.micro_batch_tokens: auto — as many tokens as fit into a GPU's memory."""

import json
from types import SimpleNamespace

import pytest
import small

from lima.training import cost_formulas, launch
from lima.training.cost_formulas import MEMORY_SHARE, STRATEGIES, Shape
from lima.training.launch import LaunchError

ONE = Shape(layers=22, hidden=2048, queries=2048, keys=256, mlp=5632, vocabulary=32_000, tied=False)  # 1.1B
CONFIG = {
    "num_hidden_layers": 22,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "intermediate_size": 5632,
    "vocab_size": 32_000,
}
AUTO = small.recipe(precision="bf16", max_tokens=2048, micro_batch_tokens="auto")


def launched(*, stage=None, offload="none", processes=1):
    zero = {"stage": stage, "offload_optimizer": {"device": offload}}
    plugin = SimpleNamespace(deepspeed_config={"zero_optimization": zero}) if stage is not None else None
    return SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), num_processes=processes)


@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"fused_layers": True}])
@pytest.mark.parametrize("gigabytes", [40, 48, 60])
def test_the_largest_micro_batch_that_fits_is_chosen(changes, gigabytes):
    recipe, free = AUTO.model_copy(update=changes), gigabytes * 1e9

    def needed(tokens):
        changed = recipe.model_copy(update={"micro_batch_tokens": tokens})
        return cost_formulas.memory(ONE, STRATEGIES[0], changed, gpus=1)[0]

    tokens = cost_formulas.micro_batch_tokens(ONE, STRATEGIES[0], recipe, gpus=1, free=free)
    assert tokens % 1024 == 0
    assert 2048 < tokens <= cost_formulas.MOST_MICRO
    assert needed(tokens) <= MEMORY_SHARE * free
    assert tokens == cost_formulas.MOST_MICRO or needed(tokens + 1024) > MEMORY_SHARE * free


def test_micro_batches_have_at_least_the_tokens_of_the_longest_example_and_at_most_those_that_help():
    choose = cost_formulas.micro_batch_tokens
    assert choose(ONE, STRATEGIES[0], AUTO, gpus=1, free=1e9) == 2048
    assert choose(ONE, STRATEGIES[0], AUTO, gpus=1, free=1e12) == 32_768


@pytest.mark.parametrize(
    ("accelerator", "strategy"),
    [
        (launched(), "a copy per GPU"),
        (launched(stage=2, processes=4), "ZeRO-2"),
        (launched(stage=3, offload="cpu", processes=4), "ZeRO-3, optimizer in RAM"),
    ],
)
def test_the_launched_way_of_sharding_is_assumed(accelerator, strategy, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (expected,) = [s for s in STRATEGIES if s.name == strategy]
    tokens = launch._fitting(AUTO, tmp_path, accelerator, free=40e9)
    gpus = accelerator.num_processes
    assert tokens == cost_formulas.micro_batch_tokens(ONE, expected, AUTO, gpus=gpus, free=40e9)


def test_a_model_of_unknown_memory_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({key: 1 for key in CONFIG if key != "intermediate_size"}))
    with pytest.raises(LaunchError, match=r"has no 'intermediate_size'; set train\.micro_batch_tokens to a number"):
        launch._fitting(AUTO, tmp_path, launched(), free=40e9)


def test_a_cpu_has_fixed_micro_batches_and_a_number_stays(tmp_path, capsys):
    accelerator = small.accelerator(small.recipe())
    assert launch.with_micro_batches(small.recipe(), tmp_path, accelerator).micro_batch_tokens == 100
    assert capsys.readouterr().err == ""
    chosen = launch.with_micro_batches(small.recipe(micro_batch_tokens="auto"), tmp_path, accelerator)
    assert chosen.micro_tokens == 1024
    assert capsys.readouterr().err == ("micro-batches of 1,024 tokens on a CPU (train.micro_batch_tokens: auto)\n")


def test_training_with_a_number_that_is_not_chosen_is_an_error():
    with pytest.raises(ValueError, match="still auto"):
        _ = AUTO.micro_tokens
    assert cost_formulas.memory(ONE, STRATEGIES[0], AUTO, gpus=1) == cost_formulas.memory(
        ONE, STRATEGIES[0], AUTO.model_copy(update={"micro_batch_tokens": 2048}), gpus=1
    )
