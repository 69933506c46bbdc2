"""Attention within each example of a packed row, and nowhere else.

A mask over the whole row would cost the square of its tokens; one causal pass an example costs the sum of their squares
(measured on rows of four examples: a fifth of the time).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

PACKED = "packed"  # its name in a model's configuration


def implementation(config: Any, *, max_tokens: int) -> str:
    """Which of transformers' implementations is exact for this model: ours, but for what only theirs can do."""
    if getattr(config, "attn_logit_softcapping", None):  # Gemma 2
        return "eager"
    window = getattr(config, "sliding_window", None)
    if window and window < max_tokens:  # a mask from the positions, over the whole row
        return "sdpa"
    return PACKED


def packed(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    lengths: Sequence[int] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention in each stretch of `lengths` tokens; in the whole rows where there are none.

    query: (rows, heads, tokens, width); key and value may have fewer heads; the result: (rows, tokens, heads, width).
    """
    stretches = list(lengths or [query.shape[2]])
    shared = key.shape[1] != query.shape[1]  # several query heads read the same key
    apart: Iterable[tuple[torch.Tensor, ...]] = zip(
        *(torch.split(tensor, stretches, dim=2) for tensor in (query, key, value)), strict=True
    )
    parts = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=shared)
        for q, k, v in apart
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PACKED, packed)
