"""Selective activation checkpointing: keep the outputs of attention and matrix products, recompute the rest.

Gradient checkpointing keeps the input of each layer and runs the layer again in the backward pass, a third of all FLOPs
more. Selective checkpointing runs only the operations between the products again (norms, rotary embeddings, SiLU,
dropout, casts), and keeps about half of the activations.
"""

from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

KEPT = frozenset(
    (
        "aten::mm",
        "aten::addmm",
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_cudnn_attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_flash_attention_forward",
        "aten::_efficient_attention_forward",
        "torch_attn::_varlen_attn",
    )
)
KEPT_NAMESPACES = ("flash_attn::", "flash_attn_3::")  # custom operations of flash-attn 2 and 3


def contexts() -> tuple[Any, Any]:
    """Contexts of the forward pass and of its recomputation, for torch.utils.checkpoint's context_fn."""
    created: tuple[Any, Any] = create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call]
    return created


def _policy(_: object, operation: Any, *__: object, **___: object) -> CheckpointPolicy:
    name = str(operation._schema.name) if isinstance(operation, torch._ops.OpOverload) else ""
    kept = name in KEPT or name.startswith(KEPT_NAMESPACES)
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE
