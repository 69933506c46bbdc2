"""Answers sampled from a Hugging Face folder, many prompts at a time (LIMA §4).

A row's random numbers come from (seed, prompt id, sample) alone, and a row that has ended leaves its batch. So an
answer depends on its batch only through the rounding of matrix products of another shape: in fp32 the same text in all
but freak cases, in bf16 another draw of the same distribution, and with the same batches always the same text.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import nucleus_sampling
from lima.inference.model import Checkpoint, render
from lima.records import Prompt, Response
from lima.text import reasoning_blocks


@dataclass(frozen=True)
class GenerationRequest:
    prompt: Prompt
    sample: int
    ids: list[int]  # of the rendered prompt


def generate(
    checkpoint: Checkpoint, prompts: Sequence[Prompt], *, contestant: str, samples: int, decoding: Decoding
) -> Iterator[Response]:
    """Every prompt's answers, longest prompts first: rows of like length pad little, and memory shows its need at once.

    Raises LimaError for a prompt that leaves no room in the context.
    """
    asked = [
        GenerationRequest(prompt, sample, ids)
        for prompt in prompts
        for ids in [render(checkpoint.tokenizer, prompt)]
        for sample in range(samples)
    ]
    for row in asked:
        if len(row.ids) >= checkpoint.context:
            raise LimaError(
                f"prompt {row.prompt.id} has {len(row.ids)} tokens, which leaves no room for an answer in a context "
                f"of {checkpoint.context}; shorten or drop it"
            )
    cut = sum(len(row.ids) + decoding.max_tokens > checkpoint.context for row in asked)
    if cut:
        print(
            f"{contestant}: the context of {checkpoint.context:,} tokens leaves less than max_tokens "
            f"{decoding.max_tokens:,} for {cut} of {len(asked)} answers, which end where it does",
            file=sys.stderr,
        )
    asked.sort(key=lambda row: (-len(row.ids), row.prompt.id, row.sample))
    for start in range(0, len(asked), decoding.batch_size):
        rows = asked[start : start + decoding.batch_size]
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
    """Each row's tokens without the one that ended it, and whether one did."""
    model = checkpoint.model
    rngs = [generator(decoding.seed, row.prompt.id, row.sample) for row in rows]
    room = [min(decoding.max_tokens, checkpoint.context - len(row.ids)) for row in rows]
    written: list[list[int]] = [[] for _ in rows]
    ended = [False] * len(rows)
    open_ = list(range(len(rows)))  # the rows still writing, in the order in which they lie in the batch
    ids, mask = padded_left([row.ids for row in rows], model.device)  # (open rows, tokens)
    generated = torch.zeros(len(rows), model.config.vocab_size, dtype=torch.bool, device=model.device)
    cache = DynamicCache(config=model.config)
    while open_:
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        seen = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        uniform = torch.tensor([rngs[row].random() for row in open_], device=model.device)
        logits = seen.logits[:, -1].float().masked_fill(checkpoint.unwritable, -torch.inf)
        logits = nucleus_sampling.repetition_penalized(logits, generated, penalty=decoding.repetition_penalty)
        tokens = nucleus_sampling.draw(logits, uniform, temperature=decoding.temperature, top_p=decoding.top_p)
        for row, token in zip(open_, tokens.tolist(), strict=True):
            ended[row] = token in checkpoint.ends
            if not ended[row]:
                written[row].append(token)
        generated.scatter_(1, tokens[:, None], True)
        kept = [place for place, row in enumerate(open_) if not ended[row] and len(written[row]) < room[row]]
        ids, mask = tokens[:, None], torch.cat([mask, mask.new_ones(len(open_), 1)], dim=-1)
        if len(kept) < len(open_):
            chosen = torch.tensor(kept, dtype=torch.long, device=model.device)
            ids, mask, generated = ids[chosen], mask[chosen], generated[chosen]
            cache.batch_select_indices(chosen)
            open_ = [open_[place] for place in kept]
    return list(zip(written, ended, strict=True))


def padded_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (rows, longest); what is masked is never looked at, so its id is any."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def generator(seed: int, prompt_id: str, sample: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{prompt_id}/{sample}".encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
