"""Batched generation with nucleus sampling from a Hugging Face folder (LIMA §4).

The random numbers of a row depend only on (seed, prompt id, sample), and finished rows leave the batch. A response
depends on its batch only through rounding in matrix products of another shape: in fp32 the text is almost always the
same, in bf16 it is another sample of the same distribution. With the same batches the text is always the same.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import nucleus_sampling
from lima.inference.generation_cache import BatchCache
from lima.inference.model import Checkpoint, render
from lima.records import Prompt, Response, Unanswered
from lima.text import reasoning_blocks


@dataclass(frozen=True)
class GenerationRequest:
    prompt: Prompt
    sample: int
    ids: list[int]  # token ids of the rendered prompt


def generate(
    checkpoint: Checkpoint,
    prompts: Sequence[Prompt],
    *,
    contestant: str,
    samples: int,
    decoding: Decoding,
    batches: BatchCache | None = None,
) -> Iterator[Response | Unanswered]:
    """Yield every sample of every prompt, longest prompts first; prompts that fill the context are unanswered.

    Rows of similar length need little padding, and too large a batch fails at once.

    Args:
        batches: stores finished batches; None for no storage.
    """
    requests = [
        GenerationRequest(prompt, sample, ids)
        for prompt in prompts
        for ids in [render(checkpoint.tokenizer, prompt)]
        for sample in range(samples)
    ]
    for row in requests:
        if len(row.ids) >= checkpoint.context:
            detail = f"the prompt has {len(row.ids):,} tokens, and the context {checkpoint.context:,}; shorten it"
            yield Unanswered(
                prompt_id=row.prompt.id, contestant=contestant, sample=row.sample, reason="too_long", detail=detail
            )
    requests = [row for row in requests if len(row.ids) < checkpoint.context]
    truncated = sum(len(row.ids) + decoding.max_tokens > checkpoint.context for row in requests)
    if truncated:
        print(
            f"{contestant}: {truncated} of {len(requests)} responses are limited by the context of "
            f"{checkpoint.context:,} tokens to less than max_tokens {decoding.max_tokens:,}",
            file=sys.stderr,
        )
    requests.sort(key=lambda row: (-len(row.ids), row.prompt.id, row.sample))
    for start in range(0, len(requests), decoding.batch_size):
        rows = requests[start : start + decoding.batch_size]
        generated = partial(_generate_batch, checkpoint, rows, contestant, decoding)
        if batches is None:
            yield from generated()
        else:
            yield from batches.responses([f"{row.sample}/{row.prompt.model_dump_json()}" for row in rows], generated)


def _generate_batch(
    checkpoint: Checkpoint, rows: Sequence[GenerationRequest], contestant: str, decoding: Decoding
) -> Iterator[Response]:
    for row, (ids, ended) in zip(rows, sampled(checkpoint, rows, decoding), strict=True):
        yield Response(
            prompt_id=row.prompt.id,
            contestant=contestant,
            sample=row.sample,
            text=reasoning_blocks.without(checkpoint.tokenizer.decode(ids, skip_special_tokens=True)),
            finish="stop" if ended else "length",
            tokens=len(ids),
        )


@torch.inference_mode()
def sampled(
    checkpoint: Checkpoint, rows: Sequence[GenerationRequest], decoding: Decoding
) -> list[tuple[list[int], bool]]:
    """Sample one batch; return the tokens of each row without its end token, and whether it ended with one.

    Raises:
        LimaError: the model returns NaN or infinite logits.
    """
    model = checkpoint.model
    rngs = [generator(decoding.seed, row.prompt.id, row.sample) for row in rows]
    limits = [min(decoding.max_tokens, checkpoint.context - len(row.ids)) for row in rows]
    responses: list[list[int]] = [[] for _ in rows]
    ended = [False] * len(rows)
    active = list(range(len(rows)))  # unfinished rows, in the order of the batch
    ids, mask = padded_left([row.ids for row in rows], model.device)  # (active rows, tokens)
    generated = torch.zeros(len(rows), model.config.vocab_size, dtype=torch.bool, device=model.device)
    cache = DynamicCache(config=model.config)
    while active:
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        uniform = torch.tensor([rngs[row].random() for row in active], device=model.device)
        logits = output.logits[:, -1].float()
        refuse_not_finite(checkpoint, logits, [rows[row] for row in active], step=len(responses[active[0]]) + 1)
        logits = logits.masked_fill(checkpoint.unwritable, -torch.inf)
        logits = nucleus_sampling.repetition_penalized(logits, generated, penalty=decoding.repetition_penalty)
        tokens = nucleus_sampling.draw(logits, uniform, temperature=decoding.temperature, top_p=decoding.top_p)
        for row, token in zip(active, tokens.tolist(), strict=True):
            ended[row] = token in checkpoint.ends
            if not ended[row]:
                responses[row].append(token)
        generated.scatter_(1, tokens[:, None], True)
        kept = [index for index, row in enumerate(active) if not ended[row] and len(responses[row]) < limits[row]]
        ids, mask = tokens[:, None], torch.cat([mask, mask.new_ones(len(active), 1)], dim=-1)
        if len(kept) < len(active):
            rows_left = torch.tensor(kept, dtype=torch.long, device=model.device)
            ids, mask, generated = ids[rows_left], mask[rows_left], generated[rows_left]
            cache.batch_select_indices(rows_left)
            active = [active[index] for index in kept]
    return list(zip(responses, ended, strict=True))


def refuse_not_finite(checkpoint: Checkpoint, logits: Tensor, rows: Sequence[GenerationRequest], *, step: int) -> None:
    """Raise LimaError if the largest logit of a row is NaN or infinite; logits: (rows, vocabulary)."""
    finite = logits.amax(dim=-1).isfinite()  # NaN if any logit is NaN
    if not bool(finite.all()):
        row = rows[finite.tolist().index(False)]
        raise LimaError(
            f"logits are NaN or infinite: checkpoint {checkpoint.name}, prompt {row.prompt.id}, sample {row.sample}, "
            f"token {step}; set precision: fp32 in params.yaml, or train again with a lower learning rate"
        )


def padded_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Left-padded token ids and attention mask, both (rows, longest). The id of padding does not matter."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def generator(seed: int, prompt_id: str, sample: int) -> np.random.Generator:
    """Random generator keyed by (seed, prompt id, sample)."""
    digest = hashlib.sha256(f"{prompt_id}/{sample}".encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
