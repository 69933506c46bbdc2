"""LoRA adapters, an option of an arm. Not part of the paper's recipe, which trains all weights."""

from typing import cast

import torch

from lima.config.entries import Lora
from lima.errors import LimaError
from lima.training.protocols import CausalLM

NAME = "default"  # of the adapter, in peft's weight names


class UnsupportedAdapter(LimaError):
    """Raised for a model that LoRA cannot be applied to."""


def add(model: CausalLM, lora: Lora, *, seed: int) -> None:
    """Freeze the model; add trained LoRA adapters to every linear layer of its blocks.

    The embeddings are trained in full, because EOT is a new token.

    Args:
        seed: Of the adapters' initial values.
    """
    from peft import LoraConfig, inject_adapter_in_model  # imported here: takes seconds

    if any(type(module).__name__ == "Conv1D" for module in model.modules()):
        raise UnsupportedAdapter(
            f"LoRA does not support the transposed weights of {type(model).__name__}; remove the arm's lora"
        )
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules="all-linear")
    torch.manual_seed(seed)
    inject_adapter_in_model(config, cast(torch.nn.Module, model))
    for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
        embeddings.weight.requires_grad_(True)


def merged(state: dict[str, torch.Tensor], lora: Lora) -> dict[str, torch.Tensor]:
    """Merge the adapters into the weights, W + (alpha / rank) · B·A; keys are those of the plain model."""
    plain = {}
    for name, tensor in state.items():
        if f".lora_A.{NAME}" in name or f".lora_B.{NAME}" in name:
            continue
        if name.endswith(".base_layer.weight"):
            layer = name.removesuffix(".base_layer.weight")
            down, up = state[f"{layer}.lora_A.{NAME}.weight"], state[f"{layer}.lora_B.{NAME}.weight"]
            tensor = tensor + (up @ down) * (lora.alpha / lora.rank)
        plain[name.replace(".base_layer.", ".")] = tensor
    return plain
