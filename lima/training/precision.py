"""Trained weights are fp32, also under bf16 autocast: bf16 weights round small updates away."""

import torch
from torch.utils.hooks import RemovableHandle

from lima.errors import LimaError
from lima.training.protocols import CausalLM

MANTISSA = 7  # fraction bits of bf16: the spacing of numbers in [2^e, 2^(e+1)) is 2^(e−7)


class UpdateUnderflow(LimaError):
    """Raised when the precision of a weight is too low for the learning rate."""


def compute_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The dtype in which linear layers compute with a tensor: that of autocast if it is enabled."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def spacing(weight: float) -> float:
    """Distance from a bf16 number to the next larger in magnitude: 2^(⌊log2 |w|⌋ − 7)."""
    exponent = torch.frexp(torch.tensor(abs(weight), dtype=torch.float64)).exponent  # |w| = m·2^exponent, ½ ≤ m < 1
    return float(2.0 ** (int(exponent) - 1 - MANTISSA))


def refuse_update_underflow(model: CausalLM, lr: float) -> None:
    """Raise if a trained weight is not fp32.

    An Adam step changes a weight by about the learning rate; a change below half the spacing is rounded to zero.

    Raises:
        UpdateUnderflow: With the numbers.
    """
    for name, weight in model.named_parameters():
        if weight.requires_grad and weight.dtype != torch.float32:
            typical = float(weight.detach().abs().float().median())
            raise UpdateUnderflow(
                f"{name} is {str(weight.dtype).removeprefix('torch.')}: an Adam step at train.lr {lr:g} changes a "
                f"weight by about {lr:g}, but bf16 numbers near the median weight {typical:.2g} have a spacing of "
                f"{spacing(typical):.2g}, and changes below half of it, {spacing(typical) / 2:.2g}, are rounded to "
                "zero; load the model in fp32 (train.precision: bf16 computes in bf16 with fp32 weights)"
            )


def cast_residual_stream(model: CausalLM) -> RemovableHandle:
    """Cast the embeddings' output to the dtype of autocast, so that the layers' outputs are added in it.

    Without it, the residual stream is fp32, as the embeddings are. Outside of autocast nothing changes.
    """

    def cast(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
        return output.to(compute_dtype(output))

    return model.get_input_embeddings().register_forward_hook(cast)
