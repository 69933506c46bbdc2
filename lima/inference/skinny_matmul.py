"""Products of a few rows, as a processor multiplies them fastest.

A step of sampling multiplies one row a prompt with every matrix. Of so few rows the libraries below torch make W·xᵀ
faster than x·Wᵀ (measured on AVX2, MKL, SmolLM2-135M: with six prompts at a time the answers take 0.65 of the time,
with 46 they take 0.95).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

MOST = 64  # rows; at 48 a product took 0.69 to 0.93 of the time, at 700 it took up to 1.3


def use_skinny_matmul(model: Any) -> None:
    """Let the model's linear layers without bias multiply few rows the other way round; on a GPU nothing changes."""
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.bias is None and module.weight.device.type == "cpu":
            module.forward = _forward(module)


def _forward(module: torch.nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        rows = x.reshape(-1, module.in_features)
        if len(rows) > MOST:
            return linear(x, module.weight)
        return (module.weight @ rows.T).T.reshape(*x.shape[:-1], module.out_features)

    return forward
