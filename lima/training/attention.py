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
_RECORDING = "packed, recording its arguments"
# Arguments of a layer's attention that do not change the result of one causal pass an example.
_WITHOUT_EFFECT = {
    *("position_ids", "cache_position", "past_key_values", "use_cache", "return_dict", "num_items_in_batch"),
    *("output_attentions", "output_hidden_states", "output_router_logits"),
}


def implementation(model: Any, *, max_tokens: int) -> str:
    """The implementation that is exact for this model: PACKED, else a transformers one that masks by the positions.

    The arguments that each layer passes to its attention decide; they are recorded in one pass over two tiny examples.
    Layers that drop the lengths (StableLM, Nemotron), and sliding windows that are shorter than an example, need a
    mask over the whole row; bent logits (Gemma 2) and other arguments unknown here need the model's own code.
    """
    before = model.config._attn_implementation
    if not model._can_set_attn_implementation():
        return str(before)
    calls = _record_calls(model)
    if any(_unknown_arguments(call) for call in calls):
        return "eager"
    have_lengths = all("lengths" in call for call in calls)
    if any("s_aux" in call for call in calls):  # sinks, which transformers' SDPA ignores
        return PACKED if have_lengths else "eager"
    windows = [call.get("sliding_window") for call in calls] + [getattr(model.config, "sliding_window", None)]
    if have_lengths and all(not window or window >= max_tokens for window in windows):
        return PACKED
    return "sdpa" if model._supports_sdpa else "eager"


def _unknown_arguments(call: dict[str, Any]) -> set[str]:
    """Names of arguments that only the model's own attention understands, such as softcap."""
    known = _WITHOUT_EFFECT | {"lengths", "sliding_window", "s_aux"}
    return call.keys() - known


def _record_calls(model: Any) -> list[dict[str, Any]]:
    """Arguments, besides tensors and dropout, of each layer's attention in a pass over two packed examples."""
    calls: list[dict[str, Any]] = []

    def recording(*tensors: Any, scaling: float | None = None, dropout: float = 0.0, **call: Any) -> Any:
        calls.append({name: value for name, value in call.items() if value is not None})
        return packed(*tensors, scaling=scaling, lengths=call.get("lengths"))

    AttentionInterface.register(_RECORDING, recording)
    before, modes = model.config._attn_implementation, [(module, module.training) for module in model.modules()]
    model.set_attn_implementation(_RECORDING)
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.zeros((1, 5), dtype=torch.long, device=model.device)
            positions = torch.tensor([[0, 1, 2, 0, 1]], device=model.device)
            model.base_model(input_ids=ids, position_ids=positions, lengths=(3, 2), use_cache=False)
    finally:
        model.set_attn_implementation(before)
        for module, training in modes:
            module.training = training
    return calls


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
    sliding_window: int | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention in each stretch of `lengths` tokens; in the whole rows where there are none.

    Args:
        query: (rows, heads, tokens, width); key and value may have fewer heads.
        sliding_window: Tokens that a token attends to, itself included.
        s_aux: Attention sinks, (heads,): a logit that takes part in the softmax and has no value (GPT-OSS).

    Returns:
        (rows, tokens, heads, width), and None in place of the attention weights.
    """
    stretches = list(lengths or [query.shape[2]])
    shared = key.shape[1] != query.shape[1]  # several query heads read the same key
    apart: Iterable[tuple[torch.Tensor, ...]] = zip(
        *(torch.split(tensor, stretches, dim=2) for tensor in (query, key, value)), strict=True
    )
    parts = []
    for q, k, v in apart:
        tokens = q.shape[2]
        window = min(sliding_window or tokens, tokens)
        mask = None if window == tokens else _mask(q, window)
        if s_aux is not None:
            k, v = (torch.nn.functional.pad(tensor, (0, 0, 0, 1)) for tensor in (k, v))  # a key and a value of zeros
            sinks = s_aux.to(q.dtype)[:, None, None].expand(-1, tokens, 1)
            mask = torch.cat((_mask(q, window).expand(len(s_aux), -1, -1), sinks), dim=-1)
        parts.append(
            scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling, is_causal=mask is None, enable_gqa=shared
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _mask(query: torch.Tensor, window: int) -> torch.Tensor:
    """0 where a token attends to another, else −inf: itself and the window − 1 before it. (1, tokens, tokens)."""
    places = torch.arange(query.shape[2], device=query.device)
    distance = places[:, None] - places[None, :]
    seen = (distance >= 0) & (distance < window)
    return torch.zeros_like(distance, dtype=query.dtype).masked_fill(~seen, -torch.inf)[None]


AttentionInterface.register(PACKED, packed)
