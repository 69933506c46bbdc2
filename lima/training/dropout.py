"""Dropout on the residual connections, rising over the layers (§3)."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import dropout
from torch.utils.hooks import RemovableHandle

from lima.errors import LimaError


class UnknownArchitecture(LimaError):
    """A model whose residual branches are not where this module looks for them."""


def rates(layers: int, top: float) -> list[float]:
    """Probability a layer, p·l/(L−1): 0 at the bottom, `top` at the top."""
    return [top * layer / max(1, layers - 1) for layer in range(layers)]


def add_residual_dropout(model: Any, top: float) -> list[RemovableHandle]:
    """Drop elements of each sub-layer's output before it joins the residual stream, in training mode only."""
    layers = getattr(getattr(model, "model", None), "layers", None)
    if layers is None or not all(hasattr(layer, "self_attn") and hasattr(layer, "mlp") for layer in layers):
        raise UnknownArchitecture(
            f"{type(model).__name__} has no model.layers with self_attn and mlp, as Llama, Qwen, Mistral and Gemma "
            "have them; take such a model, or set train.residual_dropout to 0"
        )
    return [
        branch.register_forward_hook(_dropping(rate))
        for layer, rate in zip(layers, rates(len(layers), top), strict=True)
        for branch in (layer.self_attn, layer.mlp)
    ]


def _dropping(rate: float) -> Callable[[torch.nn.Module, Any, Any], Any]:
    def hook(module: torch.nn.Module, _: Any, output: Any) -> Any:
        if not module.training or rate == 0:
            return output
        if isinstance(output, tuple):  # attention gives its weights beside
            return (dropout(output[0], rate), *output[1:])
        return dropout(output, rate)

    return hook
