"""Training loss (§3): mean cross-entropy over the supervised tokens of a step.

A step divides the loss summed over its micro-batches on all processes by the number of their supervised tokens, so that
each supervised token of a step has the same weight. The paper does not specify this.

The sum is a chunked fused linear cross-entropy: logits are materialised one chunk of tokens at a time.

The logits of all supervised tokens over a vocabulary of 49,152 need 200 kB a token, several times over. Each chunk
yields its loss and its gradient in one pass; its logits are then dropped. Logits are laid out as (vocabulary, tokens),
because a product that is much wider than high is slower on a CPU (the output head takes 1.1 to 1.2 times as long).
Chunks are multiples of eight tokens, so that rows of logits are aligned for vector loads (the product takes 1.3 times
as long without).

All losses are natural logarithms.
"""

from typing import Any

import torch

from lima.errors import LimaError
from lima.training.logit_chunks import ALIGNED, chunk_tokens
from lima.training.packing import Batch
from lima.training.protocols import CausalLM
from lima.training.varlen_attention import Kernel, PackedRow


class UnsupportedHead(LimaError):
    """Raised for an output head that is not a linear layer without bias."""


class LossModel(torch.nn.Module):
    """Wraps a causal LM so that forward() returns the summed loss.

    Loss and model are one module: sharding (DeepSpeed) and autocasting wrap forward() and cover both.
    """

    def __init__(self, model: CausalLM, kernel: Kernel | None = None) -> None:
        """Wrap the model; `kernel` computes the attention of a packed row in one call, where the model's allows it."""
        super().__init__()
        fuse_output_head(model)
        self.model = model
        self.kernel = kernel

    def forward(self, batch: Batch) -> torch.Tensor:
        """Loss summed over the batch's supervised tokens, a scalar.

        Logits are computed only at positions that predict a supervised token.
        """
        batch = batch.to(self.model.device)
        row = {}
        if self.kernel:
            row["packed_row"] = PackedRow(batch.cumulative, max(batch.lengths), self.kernel)
        hidden = self.model.base_model(
            input_ids=batch.ids, position_ids=batch.positions, lengths=batch.lengths, use_cache=False, **row
        ).last_hidden_state  # (1, tokens, width)
        loss_sum: torch.Tensor = self.model.get_output_embeddings()(hidden[0, batch.predicting], batch.targets)
        return loss_sum


def mean_loss(loss_sum: float, supervised: int) -> float:
    """Loss of a step or an evaluation: its summed loss divided by the number of its supervised tokens."""
    return loss_sum / supervised


def backward_factor(supervised: int, *, ranks: int) -> float:
    """Factor of a micro-batch's summed loss before backward(), so that a step's gradient is that of its mean loss.

    Gradients are averaged over the processes; `ranks` turns the average into the sum.

    Args:
        supervised: Supervised tokens of the whole step, on all processes.
    """
    return ranks / supervised


def fuse_output_head(model: CausalLM) -> None:
    """Replace the output head's forward: called with labels, it returns the summed loss instead of logits.

    Raises:
        UnsupportedHead: The head is not a linear layer, or has a bias.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear) or head.bias is not None:
        raise UnsupportedHead(
            f"the output head of {type(model).__name__} is not a linear layer without bias: {head}; "
            "use a model like Llama, Qwen, Mistral, Gemma or GPT-2"
        )
    plain, cap = head.forward, getattr(model.config, "final_logit_softcapping", None)
    scale = logit_scale(model.config)

    def forward(hidden: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if labels is None:
            return plain(hidden)
        loss_sum: torch.Tensor = fused_linear_cross_entropy(hidden, head.weight, labels, cap=cap, scale=scale)
        return loss_sum

    head.forward = forward


def fused_linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, *, cap: float | None, scale: float
) -> torch.Tensor:
    """Cross-entropy of `labels` under softmax(scale · hidden · weightᵀ), summed over tokens; a scalar.

    Args:
        hidden: (tokens, width).
        weight: (vocabulary, width).
        labels: (tokens,).
        cap: Bound c of soft-capped logits, c · tanh(logit / c) (Gemma 2).
        scale: See logit_scale.
    """
    loss_sum: torch.Tensor = _FusedLinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, labels, cap, scale, torch.is_grad_enabled()
    )
    return loss_sum


def logit_scale(config: Any) -> float:
    """Factor between the head's product and the logits: Granite divides, Cohere and HyperCLOVA X multiply."""
    if divisor := getattr(config, "logits_scaling", None):
        return float(divisor if config.model_type == "hyperclovax" else 1 / divisor)
    return float(getattr(config, "logit_scale", None) or 1.0)


def logits_of(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Unscaled logits, (vocabulary, tokens) in fp32. hidden: (tokens, width)."""
    return (weight @ hidden.T).float()


def _aligned(rows: torch.Tensor) -> torch.Tensor:
    """Pad with rows of zeros to a multiple of ALIGNED rows."""
    zeros = rows.new_zeros(-len(rows) % ALIGNED, *rows.shape[1:])
    return torch.cat((rows, zeros))


def _softmax_terms(logits: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numerator and denominator of the softmax, and the loss; computed in place of `logits` (vocabulary, tokens).

    Returns:
        exp(logit − largest logit), (vocabulary, tokens); its sum over the vocabulary, (1, tokens); the loss of each
        label, (1, tokens).
    """
    label_logits = logits.gather(0, label)
    peak = logits.amax(dim=0, keepdim=True)
    exp_logits = logits.sub_(peak).exp_()
    total = exp_logits.sum(dim=0, keepdim=True)
    return exp_logits, total, total.log() + peak - label_logits


class _FusedLinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients in forward(), chunk by chunk; backward() scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        cap: float | None,
        scale: float,
        needs_grad: bool,
    ) -> torch.Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        loss_sum = torch.zeros((), device=hidden.device, dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            count = len(hidden)
            rows, targets = _aligned(hidden.to(dtype)), _aligned(labels)[None]
            matrix = weight.to(dtype)
            grad_hidden = torch.empty_like(rows) if needs_grad else None
            grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad and weight.requires_grad else None
            size = chunk_tokens(len(rows), vocabulary=len(weight))
            for start in range(0, len(rows), size):
                chunk, label, cap_slope = rows[start : start + size], targets[:, start : start + size], None
                logits = logits_of(chunk, matrix)  # (vocabulary, tokens of the chunk)
                if scale != 1:
                    logits.mul_(scale)
                if cap:
                    logits.div_(cap).tanh_()
                    cap_slope = 1 - logits**2
                    logits.mul_(cap)
                exp_logits, total, losses = _softmax_terms(logits, label)
                loss_sum += losses[:, : count - start].sum()  # without the padding
                if grad_hidden is None:
                    continue
                # grad_logits · total = exp_logits − total · onehot(label). The division by `total` is applied to the
                # products with matrix and chunk, which are a hundredth as large.
                exp_logits.scatter_add_(0, label, -total)
                grad_logits = (exp_logits if cap_slope is None else exp_logits.mul_(cap_slope)).to(dtype)
                torch.mm(grad_logits.T, matrix, out=grad_hidden[start : start + size]).div_(total.T)
                if grad_weight is None:
                    continue
                scaled_chunk = (chunk / total.T).to(dtype)
                if dtype == torch.float32:
                    grad_weight.addmm_(grad_logits, scaled_chunk)
                else:
                    grad_weight += grad_logits @ scaled_chunk
        grad_hidden = None if grad_hidden is None else grad_hidden[:count]
        ctx.gradients = (grad_hidden, grad_weight, hidden.dtype, weight.dtype)
        ctx.scale = scale
        return loss_sum

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_hidden, grad_weight, hidden_dtype, weight_dtype = ctx.gradients
        ctx.gradients = None  # frees the memory; backward runs once
        factor = upstream[0] if ctx.scale == 1 else upstream[0] * ctx.scale  # d loss / d (head's product)
        grad_hidden = grad_hidden.mul_(factor).to(hidden_dtype)
        grad_weight = None if grad_weight is None else grad_weight.mul_(factor).to(weight_dtype)
        return grad_hidden, grad_weight, None, None, None, None
