"""LoRA, an arm's option: small trained matrices beside frozen ones. Not the paper's, which trains every weight."""

from typing import Any

import torch

from lima.config.entries import Lora
from lima.errors import LimaError

NAME = "default"  # of the one adapter, as peft writes it into the weights' names


class UnsupportedAdapter(LimaError):
    """A model beside whose matrices LoRA's cannot be put."""


def add(model: Any, lora: Lora, *, seed: int) -> None:
    """Freeze the model but for LoRA matrices at every linear layer of its blocks, and the embeddings.

    The embeddings are trained whole, because EOT is new and has everything to learn.
    """
    from peft import LoraConfig, inject_adapter_in_model  # seconds, spent only by the arms that ask for it

    if any(type(module).__name__ == "Conv1D" for module in model.modules()):
        raise UnsupportedAdapter(
            f"{type(model).__name__} keeps its matrices transposed, as GPT-2 does; take away the arm's lora"
        )
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules="all-linear")
    torch.manual_seed(seed)  # of the small matrices' first values
    inject_adapter_in_model(config, model)
    for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
        embeddings.weight.requires_grad_(True)


def merged(state: dict[str, torch.Tensor], lora: Lora) -> dict[str, torch.Tensor]:
    """A state with the adapter worked into the weights, W + (alpha / rank) · B·A, under the plain model's names."""
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
