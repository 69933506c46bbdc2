"""The loss at the output head, of which only a slice of the logits exists at any time.

The logits of all supervised tokens over a vocabulary of 49,152 would be 200 kB a token, several times over. Here a few
hundred tokens' logits become their loss and their gradient at once, and are forgotten. They stand a token a column,
since a product so much wider than high is slower on a processor (measured: all of the head takes 1.1 to 1.2 times as
long).
"""

from typing import Any

import torch

from lima.errors import LimaError
from lima.training.footprint import SLICE


class UnknownHead(LimaError):
    """An output head that does more than multiply."""


def fuse(model: Any) -> None:
    """Let the model's output head, given labels too, return the summed loss; without labels it does what it did."""
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear) or head.bias is not None:
        raise UnknownHead(
            f"the output head of {type(model).__name__} is {head}, not a linear layer without bias, so its loss cannot "
            "be computed in slices; take a model like Llama, Qwen, Mistral, Gemma or GPT-2"
        )
    plain, cap = head.forward, getattr(model.config, "final_logit_softcapping", None)

    def forward(hidden: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if labels is None:
            return plain(hidden)
        summed: torch.Tensor = _SummedLoss.apply(hidden, head.weight, labels, cap, torch.is_grad_enabled())
        return summed

    head.forward = forward


def logits_of(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(vocabulary, tokens) in fp32, of `hidden` (tokens, width)."""
    return (weight @ hidden.T).float()


class _SummedLoss(torch.autograd.Function):
    """Nats of `labels` (tokens,) after `hidden` (tokens, width), summed. weight: (vocabulary, width)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, cap: float | None, learns: bool
    ) -> torch.Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        summed = torch.zeros((), device=hidden.device, dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            rows, matrix = hidden.to(dtype), weight.to(dtype)
            at_rows = torch.empty_like(rows) if learns else None
            at_matrix = torch.zeros_like(weight, dtype=torch.float32) if learns and weight.requires_grad else None
            count = max(1, SLICE // (4 * len(weight)))
            for start in range(0, len(rows), count):
                part, slope = rows[start : start + count], None
                logits = logits_of(part, matrix)
                if cap:
                    bent = torch.tanh(logits / cap)
                    logits, slope = cap * bent, 1 - bent**2
                wanted = labels[None, start : start + count]
                spread = logits.logsumexp(dim=0, keepdim=True)
                summed += (spread - logits.gather(0, wanted)).sum()
                if at_rows is None:
                    continue
                # the gradient at the logits: their probabilities, less 1 where the label is
                logits.sub_(spread).exp_().scatter_add_(0, wanted, torch.full_like(spread, -1.0))
                gradient = (logits if slope is None else logits * slope).to(dtype)
                torch.mm(gradient.T, matrix, out=at_rows[start : start + count])
                if at_matrix is None:
                    continue
                if dtype == torch.float32:
                    at_matrix.addmm_(gradient, part)
                else:
                    at_matrix += gradient @ part
        ctx.gradients = (at_rows, at_matrix, hidden.dtype, weight.dtype)
        return summed

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        at_rows, at_matrix, rows_dtype, matrix_dtype = ctx.gradients
        ctx.gradients = None  # freed, and used once only
        at_rows = at_rows.mul_(upstream[0]).to(rows_dtype)
        return at_rows, None if at_matrix is None else at_matrix.mul_(upstream[0]).to(matrix_dtype), None, None, None
