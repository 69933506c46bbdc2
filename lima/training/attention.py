"""Block-diagonal causal attention for packed sequences: tokens attend only within their own example.

A mask over the packed row costs the square of its length. One causal pass per example costs the sum of the examples'
squared lengths. On CUDA, one call of a variable-length kernel does the same for all examples of a row.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from lima.training import varlen_attention
from lima.training.protocols import CausalLM
from lima.training.varlen_attention import Kernel, PackedRow

PACKED = "packed"  # name of the implementation in a model's configuration
_RECORDING = "packed, recording its arguments"
# Arguments of a layer's attention that do not change the result of one causal pass per example.
_WITHOUT_EFFECT = {
    *("position_ids", "cache_position", "past_key_values", "use_cache", "return_dict", "num_items_in_batch"),
    *("output_attentions", "output_hidden_states", "output_router_logits"),
}


def implementation(model: CausalLM, *, max_tokens: int) -> str:
    """Name of the attention implementation that is exact for this model on packed rows.

    The arguments that each layer passes to its attention are recorded in one pass over two tiny examples. Layers that
    drop the lengths (StableLM, Nemotron) and sliding windows shorter than an example need transformers' mask over the
    whole row ("sdpa"). Soft-capped logits (Gemma 2) and unknown arguments need the model's own code ("eager").

    Args:
        max_tokens: Length of the longest example.
    """
    current = model.config._attn_implementation
    if not model._can_set_attn_implementation():
        return str(current)
    calls = _record_calls(model)
    if any(_unknown_arguments(call) for call in calls):
        return "eager"
    have_lengths = all("lengths" in call for call in calls)
    if any("s_aux" in call for call in calls):  # attention sinks; transformers' SDPA ignores them
        return PACKED if have_lengths else "eager"
    windows = [call.get("sliding_window") for call in calls] + [getattr(model.config, "sliding_window", None)]
    if have_lengths and all(not window or window >= max_tokens for window in windows):
        return PACKED
    return "sdpa" if model._supports_sdpa else "eager"


def _unknown_arguments(call: dict[str, Any]) -> set[str]:
    """Names of arguments that only the model's own attention implements, such as softcap."""
    known = _WITHOUT_EFFECT | {"lengths", "sliding_window", "s_aux"}
    return call.keys() - known


def _record_calls(model: CausalLM) -> list[dict[str, Any]]:
    """Arguments of each layer's attention, except tensors and dropout, in a pass over two packed examples."""
    calls: list[dict[str, Any]] = []

    def recording(*tensors: Any, scaling: float | None = None, dropout: float = 0.0, **call: Any) -> Any:
        calls.append({name: value for name, value in call.items() if value is not None})
        return packed(*tensors, scaling=scaling, lengths=call.get("lengths"))

    AttentionInterface.register(_RECORDING, recording)
    current, modes = model.config._attn_implementation, [(module, module.training) for module in model.modules()]
    model.set_attn_implementation(_RECORDING)
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.zeros((1, 5), dtype=torch.long, device=model.device)
            positions = torch.tensor([[0, 1, 2, 0, 1]], device=model.device)
            model.base_model(input_ids=ids, position_ids=positions, lengths=(3, 2), use_cache=False)
    finally:
        model.set_attn_implementation(current)
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
    packed_row: PackedRow | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each example; registered as a transformers attention function.

    Args:
        query: (rows, heads, tokens, width); key and value may have fewer heads (grouped-query attention).
        lengths: Tokens of each example in the row; None: the row is one example.
        packed_row: The same for a variable-length kernel, which is used where it is exact.
        sliding_window: Number of tokens that a token attends to, including itself.
        s_aux: Attention sinks, (heads,): a logit in the softmax without a value (GPT-OSS).

    Returns:
        (rows, tokens, heads, width), and None instead of the attention weights.
    """
    if packed_row is not None and s_aux is None and not dropout:
        output = packed_row.attention(query, key, value, scale=scaling, window=sliding_window)
        if output is not None:
            return output, None
    example_lengths = list(lengths or [query.shape[2]])
    grouped = key.shape[1] != query.shape[1]  # several query heads share a key head
    examples: Iterable[tuple[torch.Tensor, ...]] = zip(
        *(torch.split(tensor, example_lengths, dim=2) for tensor in (query, key, value)), strict=True
    )
    outputs = []
    for q, k, v in examples:
        tokens = q.shape[2]
        window = min(sliding_window or tokens, tokens)
        mask = None if window == tokens else _mask(q, window)
        if s_aux is not None:
            k, v = (
                torch.nn.functional.pad(tensor, (0, 0, 0, 1)) for tensor in (k, v)
            )  # append a key and value of zeros
            sinks = s_aux.to(q.dtype)[:, None, None].expand(-1, tokens, 1)
            mask = torch.cat((_mask(q, window).expand(len(s_aux), -1, -1), sinks), dim=-1)
        outputs.append(
            scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling, is_causal=mask is None, enable_gqa=grouped
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def select_kernel(model: CausalLM, device: torch.device, *, bf16: bool, log: bool) -> Kernel | None:
    """The variable-length kernel for packed rows on this device, or None for one call per example.

    Args:
        bf16: The computation is in bf16, which the kernels need.
        log: Print the choice to standard error.
    """
    if device.type != "cuda":
        return None
    name = model.config._attn_implementation
    if name != PACKED:
        kernel, text = None, f"transformers' {name} with a mask over the row"
    elif not bf16:
        kernel, text = None, "one call per example, since the kernels need train.precision: bf16"
    else:
        kernel, rejected = varlen_attention.select(
            varlen_attention.installed(), _reference, heads=_heads(model), device=str(device)
        )
        text = f"one call of {kernel.name} per row" if kernel else "one call per example"
        text += "".join(f"; not {reason}" for reason in rejected)
    if log:
        print(f"attention: {text}", file=sys.stderr)
    return kernel


def _heads(model: CausalLM) -> tuple[int, int, int]:
    """Query heads, key heads and width of a head."""
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads, int(getattr(config, "num_key_value_heads", None) or heads), int(width)


def _reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float | None, window: int | None
) -> torch.Tensor:
    """Causal attention of one example with a mask; all tensors (1, heads, tokens, width)."""
    mask = _mask(query, window or query.shape[2])
    grouped = key.shape[1] != query.shape[1]
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=grouped)


def _mask(query: torch.Tensor, window: int) -> torch.Tensor:
    """Sliding-window mask, (1, tokens, tokens): 0 for a token and the window − 1 before it, −inf elsewhere."""
    positions = torch.arange(query.shape[2], device=query.device)
    distance = positions[:, None] - positions[None, :]
    visible = (distance >= 0) & (distance < window)
    return torch.zeros_like(distance, dtype=query.dtype).masked_fill(~visible, -torch.inf)[None]


AttentionInterface.register(PACKED, packed)
