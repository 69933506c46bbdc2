"""Dropout on the residual connections, rising over the layers (§3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import dropout
from torch.utils.hooks import RemovableHandle

from lima.errors import LimaError

# What a layer adds to the residual stream, by family; the first pair that a layer has whole counts.
BRANCHES = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),  # Gemma 2 and 3: a sub-layer's output, normalised
    ("self_attn", "mlp"),  # Llama, Qwen, Mistral, Gemma
    ("attn", "mlp"),  # GPT-2
)
RATE = "added_residual_dropout"  # the attribute of a sub-layer that holds its probability


class UnknownArchitecture(LimaError):
    """A model whose residual branches are not where this module looks for them."""


def rates(layers: int, top: float) -> list[float]:
    """Probability a layer, p·l/(L−1): 0 at the bottom, `top` at the top."""
    return [top * layer / max(1, layers - 1) for layer in range(layers)]


def add_residual_dropout(model: Any, top: float) -> list[RemovableHandle]:
    """Drop elements of each sub-layer's output before it joins the residual stream, in training mode only."""
    layers, handles = branches(model), []
    for pair, rate in zip(layers, rates(len(layers), top), strict=True):
        for branch in pair:
            setattr(branch, RATE, rate)
            handles.append(branch.register_forward_hook(_drop))
    return handles


@contextmanager
def disabled(model: Any) -> Iterator[None]:
    """Set the rates of residual dropout to 0 inside the block."""
    with_rates = {module: getattr(module, RATE) for module in model.modules() if hasattr(module, RATE)}
    try:
        for module in with_rates:
            setattr(module, RATE, 0.0)
        yield
    finally:
        for module, rate in with_rates.items():
            setattr(module, RATE, rate)


def branches(model: Any) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
    """Each layer's attention and MLP, as the modules whose outputs are added to the residual stream."""
    inner = getattr(model, "model", None) or getattr(model, "transformer", None)
    layers = getattr(inner, "layers", None) or getattr(inner, "h", None) or []
    pairs = [next((pair for pair in BRANCHES if all(hasattr(layer, b) for b in pair)), None) for layer in layers]
    if not pairs or None in pairs:
        raise UnknownArchitecture(
            f"{type(model).__name__} has neither model.layers with self_attn and mlp, as Llama, Qwen, Mistral and "
            "Gemma have them, nor transformer.h with attn and mlp, as GPT-2 has; take such a model, or set "
            "train.residual_dropout to 0"
        )
    return [
        (getattr(layer, pair[0]), getattr(layer, pair[1])) for layer, pair in zip(layers, pairs, strict=True) if pair
    ]


def disable_model_dropout(model: Any) -> None:
    """Take away the dropout that a model brings from its pretraining, as GPT-2 does: the recipe has another (§3).

    It is a torch module, or a number that a layer passes on (attention_dropout, layerdrop).
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float) and name != RATE:
                setattr(module, name, 0.0)


def _drop(module: torch.nn.Module, _: Any, output: Any) -> Any:
    rate = float(getattr(module, RATE))
    if not module.training or rate == 0:
        return output
    if isinstance(output, tuple):  # attention gives its weights beside
        return (dropout(output[0], rate), *output[1:])
    return dropout(output, rate)
