"""Faster CPU matrix products for few rows ("skinny" matrices), as in decoding.

A decoding step multiplies one row per prompt with every weight matrix. For few rows, BLAS computes W·xᵀ faster than
x·Wᵀ (AVX2, MKL, SmolLM2-135M: generation takes 0.65 of the time with 6 prompts per batch, 0.95 with 46).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

MAX_ROWS = 64  # at 48 rows a product takes 0.69 to 0.93 of the time, at 700 up to 1.3


def use_skinny_matmul(model: torch.nn.Module) -> None:
    """Replace forward() of the model's CPU linear layers without bias; layers on a GPU are unchanged."""
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.bias is None and module.weight.device.type == "cpu":
            module.forward = _forward(module)


def _forward(module: torch.nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(-1, module.in_features)
        if len(rows) > MAX_ROWS:
            return linear(x, module.weight)
        return (module.weight @ rows.T).T.reshape(*x.shape[:-1], module.out_features)

    return forward
