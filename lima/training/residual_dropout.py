"""Residual dropout with a rate that rises linearly over the layers (§3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import dropout
from torch.utils.hooks import RemovableHandle

from lima.errors import LimaError
from lima.training.protocols import CausalLM

# Sub-layers whose outputs are added to the residual stream, by family; the first pair that a layer has is used.
BRANCHES = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),  # Gemma 2 and 3: normalised output of a sub-layer
    ("self_attn", "mlp"),  # Llama, Qwen, Mistral, Gemma
    ("attn", "mlp"),  # GPT-2
)
RATE = "added_residual_dropout"  # attribute of a sub-layer: its dropout probability
IN_ADDITION = "residual_dropout_in_addition"  # attribute of a sub-layer whose layer drops where it adds


class UnknownArchitecture(LimaError):
    """Raised for a model whose residual branches are not at a known location."""


def rates(layers: int, top: float) -> list[float]:
    """Dropout probability of each layer l of L: top · l/(L−1), 0 at the bottom (§3)."""
    return [top * layer / max(1, layers - 1) for layer in range(layers)]


def add_residual_dropout(model: CausalLM, top: float) -> list[RemovableHandle]:
    """Apply dropout to each sub-layer's output before it is added to the residual stream, in training mode only.

    Args:
        top: Probability at the last layer.

    Raises:
        UnknownArchitecture: The layers are not at a known location.
    """
    layers, handles = branches(model), []
    for pair, rate in zip(layers, rates(len(layers), top), strict=True):
        for branch in pair:
            setattr(branch, RATE, rate)
            handles.append(branch.register_forward_hook(_drop))
    return handles


@contextmanager
def disabled(model: CausalLM) -> Iterator[None]:
    """Set the rates of residual dropout to 0 within the block."""
    with_rates = {module: getattr(module, RATE) for module in model.modules() if hasattr(module, RATE)}
    try:
        for module in with_rates:
            setattr(module, RATE, 0.0)
        yield
    finally:
        for module, rate in with_rates.items():
            setattr(module, RATE, rate)


def branches(model: CausalLM) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
    """Attention and MLP of each layer: the modules whose outputs are added to the residual stream."""
    inner = getattr(model, "model", None) or getattr(model, "transformer", None)
    layers = getattr(inner, "layers", None) or getattr(inner, "h", None) or []
    pairs = [next((pair for pair in BRANCHES if all(hasattr(layer, b) for b in pair)), None) for layer in layers]
    if not pairs or None in pairs:
        raise UnknownArchitecture(
            f"unknown architecture: {type(model).__name__} has neither model.layers with self_attn and mlp (Llama, "
            "Qwen, Mistral, Gemma) nor transformer.h with attn and mlp (GPT-2); use such a model or set "
            "train.residual_dropout to 0"
        )
    return [
        (getattr(layer, pair[0]), getattr(layer, pair[1])) for layer, pair in zip(layers, pairs, strict=True) if pair
    ]


def disable_model_dropout(model: CausalLM) -> None:
    """Set the model's own dropout rates, such as GPT-2's, to 0; the recipe uses residual dropout only (§3).

    A rate belongs to a torch module, or is a number that a layer passes on (attention_dropout, layerdrop).
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float) and name != RATE:
                setattr(module, name, 0.0)


def rate_of(branch: torch.nn.Module) -> float:
    """Dropout probability of a sub-layer's output; 0 in evaluation mode and without residual dropout."""
    return float(getattr(branch, RATE, 0.0)) if branch.training else 0.0


def _drop(module: torch.nn.Module, _: Any, output: Any) -> Any:
    rate = rate_of(module)
    if rate == 0 or getattr(module, IN_ADDITION, False):
        return output
    if isinstance(output, tuple):  # attention also returns its weights
        return (dropout(output[0], rate), *output[1:])
    return dropout(output, rate)
