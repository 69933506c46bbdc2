"""Nucleus (top-p) sampling with temperature and repetition penalty (LIMA §4)."""

import torch
from torch import Tensor

HEAD = 128  # the most likely tokens, tried before the whole vocabulary is sorted; the result is the same


def repetition_penalized(logits: Tensor, generated: Tensor, *, penalty: float) -> Tensor:
    """Repetition penalty: the logit l of a generated token becomes l/θ if l > 0, else l·θ (Keskar et al. 2019).

    Only generated tokens are penalised (§4). The processor in transformers also penalises the tokens of the prompt, so
    that the response avoids the words of the question.

    Args:
        logits: (rows, vocabulary).
        generated: ids of the tokens that each row has generated, (rows, any number); ids may repeat.
        penalty: θ, at least 1.
    """
    values = logits.gather(-1, generated)
    return logits.scatter(-1, generated, torch.where(values > 0, values / penalty, values * penalty))


def draw(logits: Tensor, uniform: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Sample one token per row from its nucleus: the fewest most likely tokens with a mass of at least `top_p`.

    Uses inverse transform sampling, most likely token first, so that a token depends only on the logits and the random
    number of its own row.

    Args:
        logits: (rows, vocabulary).
        uniform: random numbers in [0, 1), shape (rows,).

    Returns:
        Token ids, shape (rows,).
    """
    scaled = logits.float() / temperature
    total = scaled.logsumexp(dim=-1, keepdim=True)
    best, tokens = scaled.topk(min(HEAD, scaled.shape[-1]), dim=-1)  # (rows, ranks), most likely first
    probabilities = (best - total).double().exp()
    if best.shape != scaled.shape and bool((probabilities.sum(dim=-1) < top_p).any()):
        best, tokens = scaled.sort(dim=-1, descending=True, stable=True)
        probabilities = (best - total).double().exp()
    nucleus = probabilities.cumsum(dim=-1) - probabilities < top_p  # more likely tokens have less than top_p
    cumulative = torch.where(nucleus, probabilities, 0.0).cumsum(dim=-1)
    target = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    rank = torch.searchsorted(cumulative, target, right=True)
    rank = torch.minimum(rank, nucleus.sum(dim=-1, keepdim=True) - 1)  # the product may round up to the total
    return tokens.gather(-1, rank).squeeze(-1)
