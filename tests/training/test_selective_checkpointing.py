"""Selective checkpointing keeps matrix products and attention, and recomputes the operations between them."""

from collections import Counter
from importlib import import_module

import pytest
import small
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig

from lima.training import launch, selective_checkpointing
from lima.training.loss import LossModel
from lima.training.packing import pack
from lima.training.tokenization import Encoded

LAYERS = 3
TOKENS = 512
EXAMPLES = [Encoded(str(n), tuple(range(1, 129)), tuple([-100] * 120 + list(range(121, 129))), 0) for n in range(4)]
ATTENTION = "aten::_scaled_dot_product_flash_attention_for_cpu"


class Operations(TorchDispatchMode):
    """Counts dispatched operations by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, operation, _, args=(), kwargs=None):
        self.counts[operation._schema.name] += 1
        return operation(*args, **(kwargs or {}))


def measured(kind):
    """Operations of forward and backward, and bytes that the forward pass leaves allocated per token and layer."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    launch.configure_for_training(model, small.recipe(max_tokens=128, gradient_checkpointing=kind))
    loss_model = LossModel(model).train()
    loss_model(pack(EXAMPLES)).backward()  # allocates the gradients
    with torch.profiler.profile(profile_memory=True) as profile:
        loss = loss_model(pack(EXAMPLES))
    kept = sum(event.self_cpu_memory_usage for event in profile.events())
    loss.backward()
    with Operations() as operations:
        loss_model(pack(EXAMPLES)).backward()
    return operations.counts, kept / TOKENS / LAYERS


def test_products_and_attention_are_not_computed_again():
    plain, plain_bytes = measured(False)
    recomputed, recomputed_bytes = measured(True)
    selective, selective_bytes = measured("selective")
    assert plain[ATTENTION] == selective[ATTENTION] == 4 * LAYERS  # one per example
    assert recomputed[ATTENTION] == 2 * 4 * LAYERS
    assert selective["aten::mm"] == plain["aten::mm"]
    # of seven products of a layer, the last one need not be computed again
    assert plain["aten::mm"] + 6 * LAYERS <= recomputed["aten::mm"] <= plain["aten::mm"] + 7 * LAYERS
    assert selective["aten::silu"] == plain["aten::silu"] + LAYERS
    # 6·64 + 4·64 (queries) + 2·32 (keys, values) … of 4 bytes: see cost_formulas.activations
    assert recomputed_bytes < 0.5 * selective_bytes
    assert selective_bytes < 0.65 * plain_bytes


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("aten::mm", True),
        ("aten::silu", False),
        ("aten::mul", False),
        (ATTENTION, True),
        ("torch_attn::_varlen_attn", True),
    ],
)
def test_operations_are_kept_by_name(name, kept):
    import_module("torch.nn.attention.varlen")  # registers its operation
    namespace, _, short = name.partition("::")
    operation = getattr(getattr(torch.ops, namespace), short)
    overload = getattr(operation, operation.overloads()[0])
    policy = selective_checkpointing._policy(None, overload)
    assert (policy == selective_checkpointing.CheckpointPolicy.MUST_SAVE) == kept
