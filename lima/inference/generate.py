"""Batched generation with nucleus sampling from a Hugging Face folder (LIMA §4).

Continuous batching: a finished row leaves the batch and a waiting prompt takes its place. The random numbers of a row
depend only on (seed, prompt id, sample). A response depends on the other rows only through rounding in products and
sums of another shape: in fp32 the text is almost always the same, in bf16 it is another sample of the same
distribution. With the same requests and batch size the text is always the same.
"""

import hashlib
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import nucleus_sampling
from lima.inference.cuda_graphs import GraphedStep
from lima.inference.generation_cache import BatchCache
from lima.inference.kv_cache import SlotCache
from lima.inference.model import Checkpoint, render
from lima.records import Prompt, Response, Unanswered
from lima.text import reasoning_blocks

BATCHES = 4  # batches whose rows are refilled from one queue, and that are stored together
JOINS = 8  # times that a batch is refilled while all its rows finish
BUCKET = 64  # slots of the cache by which static steps differ
Mode = Literal["eager", "static", "graph"]  # static: few shapes of a step, as CUDA graphs need; graph: these graphs
PREFILL_TOKENS = {"cpu": 256, "cuda": 16_384}  # of prompts that are prefilled together, with padding


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
    together = BATCHES * decoding.batch_size
    for start in range(0, len(requests), together):
        rows = requests[start : start + together]
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
    checkpoint: Checkpoint,
    requests: Sequence[GenerationRequest],
    decoding: Decoding,
    *,
    mode: Mode | None = None,
) -> list[tuple[list[int], bool]]:
    """Sample responses, `batch_size` at a time; waiting requests take the places of finished rows.

    Args:
        mode: of the decoding steps; None: that of the model's device.

    Returns:
        The tokens of each response without its end token, and whether it ended with one.

    Raises:
        LimaError: the model returns NaN or infinite logits.
    """
    rows = [Row.of(request, checkpoint, decoding) for request in requests]
    size = min(decoding.batch_size, len(rows))
    batch, waiting = Batch(checkpoint, decoding, size, mode=mode), deque(rows)
    while waiting or batch.rows:
        free = size - len(batch.rows)
        # a prefill costs about as much as a step, so that several rows join at once
        if waiting and free >= max(1, size // JOINS):
            batch.join([waiting.popleft() for _ in range(min(free, len(waiting)))])
        else:
            batch.step()
    return [(row.ids, row.ended) for row in rows]


@dataclass
class Row:
    """A response that is being sampled."""

    request: GenerationRequest
    rng: np.random.Generator
    limit: int  # tokens
    ids: list[int] = field(default_factory=list)
    ended: bool = False

    @classmethod
    def of(cls, request: GenerationRequest, checkpoint: Checkpoint, decoding: Decoding) -> "Row":
        return cls(
            request,
            generator(decoding.seed, request.prompt.id, request.sample),
            min(decoding.max_tokens, checkpoint.context - len(request.ids)),
        )


class Batch:
    """Unfinished rows of at most `size`, decoded together; a finished row leaves."""

    def __init__(self, checkpoint: Checkpoint, decoding: Decoding, size: int, *, mode: Mode | None = None) -> None:
        model = checkpoint.model
        mode = mode or ("graph" if model.device.type == "cuda" else "eager")
        self.rows: list[Row] = []
        self._checkpoint = checkpoint
        self._decoding = decoding
        self._cache = SlotCache(model.config, size, model.device, bucket=1 if mode == "eager" else BUCKET)
        self._graphed = GraphedStep(self._cache.slots, size) if mode == "graph" else None
        self._tokens = torch.zeros(size, dtype=torch.long, device=model.device)  # the newest of each row
        self._positions = torch.zeros(size, dtype=torch.long, device=model.device)  # of these tokens
        # generated tokens; the places after the newest repeat the first
        self._generated = torch.zeros(size, decoding.max_tokens, dtype=torch.long, device=model.device)

    def join(self, rows: Sequence[Row]) -> None:
        """Prefill the prompts of rows and sample their first tokens; samples of one prompt share its prefill."""
        most = PREFILL_TOKENS[self._checkpoint.model.device.type]
        group: list[tuple[int, ...]] = []
        for prompt in dict.fromkeys(tuple(row.request.ids) for row in rows):
            if group and (len(group) + 1) * max(map(len, [*group, prompt])) > most:
                self._prefill(group, rows)
                group = []
            group.append(prompt)
        self._prefill(group, rows)

    def _prefill(self, prompts: Sequence[tuple[int, ...]], rows: Sequence[Row]) -> None:
        """Prefill prompts; their rows join."""
        rows = [row for row in rows if tuple(row.request.ids) in prompts]
        ids, mask = padded_left(prompts, self._checkpoint.model.device)
        cache = self._cache.prefill_cache()
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        output = self._checkpoint.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        places = [prompts.index(tuple(row.request.ids)) for row in rows]
        self._cache.join(cache, places, [len(row.request.ids) for row in rows])
        first = len(self.rows)
        self.rows += rows
        self._choose(output.logits[places, -1], first)

    def step(self) -> None:
        """Decode and sample the next token of each row."""
        count = len(self.rows)
        self._cache.begin_step()
        self._positions[:count] = torch.tensor(self._cache.lengths, device=self._positions.device)
        logits = self._graphed(self._logits, count) if self._graphed else self._logits(count)
        self._cache.end_step()
        self._choose(logits, 0)

    def _logits(self, count: int) -> Tensor:
        """Logits of the first rows, (rows, vocabulary)."""
        output = self._checkpoint.model(
            input_ids=self._tokens[:count, None],
            attention_mask=self._cache.mask[:count, : self._cache.slots.width],
            position_ids=self._positions[:count, None],
            past_key_values=self._cache,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def _choose(self, logits: Tensor, first: int) -> None:
        """Sample a token of the rows from `first` on; logits: (these rows, vocabulary)."""
        decoding, rows, device = self._decoding, self.rows[first:], self._tokens.device
        logits = logits.float()
        refuse_not_finite(self._checkpoint, logits, rows)
        logits.index_fill_(-1, self._checkpoint.unwritable, -torch.inf)
        steps = [len(row.ids) for row in rows]
        generated = self._generated[first : len(self.rows)]
        logits = nucleus_sampling.repetition_penalized(
            logits, generated[:, : max(steps)], penalty=decoding.repetition_penalty
        )
        uniform = torch.tensor([row.rng.random() for row in rows], device=device)
        tokens = nucleus_sampling.draw(logits, uniform, temperature=decoding.temperature, top_p=decoding.top_p)
        self._tokens[first : len(self.rows)] = tokens
        if max(steps) == 0:
            generated[:] = tokens[:, None]
        else:
            generated.scatter_(1, torch.tensor(steps, device=device)[:, None], tokens[:, None])
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.ended = token in self._checkpoint.ends
            if not row.ended:
                row.ids.append(token)
        for place in reversed(range(first, len(self.rows))):
            row = self.rows[place]
            if row.ended or len(row.ids) >= row.limit:
                self._remove(place)

    def _remove(self, place: int) -> None:
        """The last row takes the place of a row that leaves."""
        last = len(self.rows) - 1
        self._cache.leave(place)
        self.rows[place] = self.rows[last]
        self.rows.pop()
        for state in (self._tokens, self._generated):
            state[place] = state[last]


def refuse_not_finite(checkpoint: Checkpoint, logits: Tensor, rows: Sequence[Row]) -> None:
    """Raise LimaError if the largest logit of a row is NaN or infinite; logits: (rows, vocabulary)."""
    finite = logits.amax(dim=-1).isfinite()  # NaN if any logit is NaN
    if not bool(finite.all()):
        row = rows[finite.tolist().index(False)]
        request = row.request
        raise LimaError(
            f"logits are NaN or infinite: checkpoint {checkpoint.name}, prompt {request.prompt.id}, "
            f"sample {request.sample}, token {len(row.ids) + 1}; set precision: fp32 in params.yaml, or train again "
            "with a lower learning rate"
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
