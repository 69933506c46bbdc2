"""From logits to the next token: repetition penalty, temperature and nucleus (LIMA §4)."""

import torch
from torch import Tensor

HEAD = 128  # the likeliest tokens, tried before the whole vocabulary is sorted; the outcome is the same


def repetition_penalized(logits: Tensor, generated: Tensor, *, penalty: float) -> Tensor:
    """Logits with those of tokens already generated made less likely: l/θ where l > 0, else l·θ (Keskar et al. 2019).

    Only what the model itself has written counts (§4). The processor in transformers also counts the prompt's tokens,
    and so forbids a model to take up the words it was asked about.

    logits: (rows, vocabulary); generated: (rows, vocabulary), true where the row has generated the token.
    """
    return torch.where(generated, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw(logits: Tensor, uniform: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """A token a row from its nucleus, the smallest set of likeliest tokens with a mass of at least `top_p`.

    The draw inverts the cumulative distribution, likeliest token first, so that a row's token depends on nothing but
    its own logits and its own number.

    logits: (rows, vocabulary); uniform: (rows,) in [0, 1); the tokens: (rows,).
    """
    scaled = logits.float() / temperature
    total = scaled.logsumexp(dim=-1, keepdim=True)
    best, tokens = scaled.topk(min(HEAD, scaled.shape[-1]), dim=-1)  # (rows, ranks), likeliest first
    shares = (best - total).double().exp()
    if best.shape != scaled.shape and bool((shares.sum(dim=-1) < top_p).any()):
        best, tokens = scaled.sort(dim=-1, descending=True, stable=True)
        shares = (best - total).double().exp()
    inside = shares.cumsum(dim=-1) - shares < top_p  # the likelier tokens do not suffice yet
    reached = torch.where(inside, shares, 0.0).cumsum(dim=-1)
    target = uniform.to(reached)[:, None] * reached[:, -1:]
    rank = torch.searchsorted(reached, target, right=True)
    rank = torch.minimum(rank, inside.sum(dim=-1, keepdim=True) - 1)  # a product may round up to the whole
    return tokens.gather(-1, rank).squeeze(-1)
