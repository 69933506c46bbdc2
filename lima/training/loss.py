"""The loss at the output head, of which only a slice of the logits exists at any time.

The logits of all supervised tokens over a vocabulary of 49,152 would be 200 kB a token, several times over. Here a few
hundred tokens' logits become their loss and their gradient at once, and are forgotten. They stand a token a column,
since a product so much wider than high is slower on a processor (measured: all of the head takes 1.1 to 1.2 times as
long), and a multiple of eight tokens at a time, since else hardly a row of logits begins where a vector register loads
best (that product alone: 1.3 times as long).
"""

from math import ceil
from typing import Any

import torch

from lima.errors import LimaError
from lima.training.packing import Batch
from lima.training.resources import FP32, SLICE
from lima.training.tokenization import IGNORED

ALIGNED = 8  # tokens


class UnsupportedHead(LimaError):
    """An output head that does more than multiply."""


class LossModel(torch.nn.Module):
    """The model with its loss as one module, so that whatever shards or casts a module's forward covers both."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        fuse_output_head(model)
        self.model = model

    def forward(self, batch: Batch) -> torch.Tensor:
        """Nats over the batch's supervised tokens; logits are computed only at the places that predict one."""
        device = self.model.device
        labels = batch.labels[0]
        # a token is predicted one place before it; an example's first token is the user's, so none predicts a
        # neighbour's
        places = (labels[1:] != IGNORED).nonzero().squeeze(1)
        hidden = self.model.base_model(
            input_ids=batch.ids.to(device),
            position_ids=batch.positions.to(device),
            lengths=batch.lengths,
            use_cache=False,
        ).last_hidden_state  # (1, tokens, width)
        nats: torch.Tensor = self.model.get_output_embeddings()(
            hidden[0, places.to(device)], labels[places + 1].to(device)
        )
        return nats


def fuse_output_head(model: Any) -> None:
    """Let the model's output head, given labels too, return the summed loss; without labels it does what it did."""
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear) or head.bias is not None:
        raise UnsupportedHead(
            f"the output head of {type(model).__name__} is {head}, not a linear layer without bias, so its loss cannot "
            "be computed in slices; take a model like Llama, Qwen, Mistral, Gemma or GPT-2"
        )
    plain, cap = head.forward, getattr(model.config, "final_logit_softcapping", None)
    scale = logit_scale(model.config)

    def forward(hidden: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if labels is None:
            return plain(hidden)
        summed: torch.Tensor = _FusedLinearCrossEntropy.apply(
            hidden, head.weight, labels, cap, scale, torch.is_grad_enabled()
        )
        return summed

    head.forward = forward


def logit_scale(config: Any) -> float:
    """Factor between the head's product and the logits: Granite divides, Cohere and HyperCLOVA X multiply."""
    if divisor := getattr(config, "logits_scaling", None):
        return float(divisor if config.model_type == "hyperclovax" else 1 / divisor)
    return float(getattr(config, "logit_scale", None) or 1.0)


def logits_of(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(vocabulary, tokens) in fp32, of `hidden` (tokens, width)."""
    return (weight @ hidden.T).float()


def slice_tokens(tokens: int, *, vocabulary: int) -> int:
    """Tokens of a slice: as few slices as SLICE allows, all alike but for the last, each a multiple of ALIGNED."""
    most = max(SLICE // (FP32 * vocabulary * ALIGNED), 1)
    groups = max(ceil(tokens / ALIGNED), 1)
    return ceil(groups / ceil(groups / most)) * ALIGNED


def _aligned(rows: torch.Tensor) -> torch.Tensor:
    """With zeros behind it, up to a multiple of ALIGNED rows."""
    zeros = rows.new_zeros(-len(rows) % ALIGNED, *rows.shape[1:])
    return torch.cat((rows, zeros))


def _softmax_terms(logits: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The logits, in place, as odds against the likeliest word; their total and the label's nats, both (1, tokens)."""
    at_label = logits.gather(0, label)
    peak = logits.amax(dim=0, keepdim=True)
    odds = logits.sub_(peak).exp_()
    total = odds.sum(dim=0, keepdim=True)
    return odds, total, total.log() + peak - at_label


class _FusedLinearCrossEntropy(torch.autograd.Function):
    """Nats of `labels` (tokens,) after `hidden` (tokens, width), summed. weight: (vocabulary, width)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        cap: float | None,
        scale: float,
        learns: bool,
    ) -> torch.Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        summed = torch.zeros((), device=hidden.device, dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            count = len(hidden)
            rows, wanted = _aligned(hidden.to(dtype)), _aligned(labels)[None]
            matrix = weight.to(dtype)
            at_rows = torch.empty_like(rows) if learns else None
            at_matrix = torch.zeros_like(weight, dtype=torch.float32) if learns and weight.requires_grad else None
            size = slice_tokens(len(rows), vocabulary=len(weight))
            for start in range(0, len(rows), size):
                part, label, slope = rows[start : start + size], wanted[:, start : start + size], None
                logits = logits_of(part, matrix)
                if scale != 1:
                    logits.mul_(scale)
                if cap:
                    logits.div_(cap).tanh_()
                    slope = 1 - logits**2
                    logits.mul_(cap)
                odds, total, nats = _softmax_terms(logits, label)
                summed += nats[:, : count - start].sum()
                if at_rows is None:
                    continue
                # the gradient at the logits, times `total`: the odds, less their total where the label is; to divide
                # by it what is multiplied with them takes a hundredth of dividing them
                odds.scatter_add_(0, label, -total)
                gradient = (odds if slope is None else odds.mul_(slope)).to(dtype)
                torch.mm(gradient.T, matrix, out=at_rows[start : start + size]).div_(total.T)
                if at_matrix is None:
                    continue
                share = (part / total.T).to(dtype)
                if dtype == torch.float32:
                    at_matrix.addmm_(gradient, share)
                else:
                    at_matrix += gradient @ share
        at_rows = None if at_rows is None else at_rows[:count]
        ctx.gradients = (at_rows, at_matrix, hidden.dtype, weight.dtype)
        ctx.scale = scale
        return summed

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        at_rows, at_matrix, rows_dtype, matrix_dtype = ctx.gradients
        ctx.gradients = None  # freed, and used once only
        factor = upstream[0] if ctx.scale == 1 else upstream[0] * ctx.scale  # d loss / d (head's product)
        at_rows = at_rows.mul_(factor).to(rows_dtype)
        at_matrix = None if at_matrix is None else at_matrix.mul_(factor).to(matrix_dtype)
        return at_rows, at_matrix, None, None, None, None
