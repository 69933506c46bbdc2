"""Why weights are trained in fp32 whatever the computation's precision."""

from typing import Any

import torch

from lima.errors import LimaError

MANTISSA = 7  # bits of bf16's fraction: numbers from 2^e up to 2^(e+1) lie 2^(e−7) apart


class UpdateUnderflow(LimaError):
    """Weights too coarse for the learning rate; shows the arithmetic."""


def spacing(weight: float) -> float:
    """Distance from a bf16 number to the next one away from zero: 2^(⌊log2 |w|⌋ − 7)."""
    exponent = torch.frexp(torch.tensor(abs(weight), dtype=torch.float64)).exponent  # |w| = m·2^exponent, ½ ≤ m < 1
    return float(2.0 ** (int(exponent) - 1 - MANTISSA))


def refuse_update_underflow(model: Any, lr: float) -> None:
    """Raise where a weight that is trained is not fp32.

    An Adam step moves a weight by about the learning rate; one below half the spacing is rounded away, every time.
    """
    for name, weight in model.named_parameters():
        if weight.requires_grad and weight.dtype != torch.float32:
            typical = float(weight.detach().abs().float().median())
            raise UpdateUnderflow(
                f"{name} is {str(weight.dtype).removeprefix('torch.')}, and an Adam step at train.lr {lr:g} moves a "
                f"weight by about {lr:g}. bf16 numbers near the median weight {typical:.2g} lie {spacing(typical):.2g} "
                f"apart: a step of less than {spacing(typical) / 2:.2g}, half of it, is rounded away. Load the model "
                "in fp32; train.precision: bf16 computes in bf16 and keeps the weights in fp32"
            )
