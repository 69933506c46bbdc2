"""One response at a time from a checkpoint, as a stream of texts, with the decoding of the stage sample (LIMA §4)."""

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache

from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference import nucleus_sampling
from lima.inference.generate import GenerationRequest, generator, refuse_not_finite
from lima.inference.model import Checkpoint, render
from lima.records import Prompt, Provenance, Turn

PLACE = Provenance(source="chat", site="", id="", url="", author="", license="", digest="")
INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # a token that ends within a character


class ContextFull(LimaError):
    """The conversation fills the context of the model."""


def stream_text(
    checkpoint: Checkpoint, messages: Sequence[Turn], decoding: Decoding, *, conversation: str, sample: int
) -> Iterator[str]:
    """Yield the pieces of a response to the messages as they are sampled; the same arguments yield the same pieces.

    Args:
        conversation: identifies the conversation, for the random numbers.
        sample: of several responses to the same messages.

    Raises:
        ContextFull: the messages fill the context.
    """
    identity = f"{conversation}/{len(messages)}"
    prompt = Prompt(id=identity, messages=tuple(messages), tags=(), provenance=PLACE)
    row = GenerationRequest(prompt, sample, render(checkpoint.tokenizer, prompt))
    if len(row.ids) >= checkpoint.context:
        raise ContextFull(
            f"the conversation has {len(row.ids):,} tokens, and the context {checkpoint.context:,}; start a new one"
        )
    ids: list[int] = []
    shown = ""
    for token in stream_tokens(checkpoint, row, decoding):
        ids.append(token)
        text = checkpoint.tokenizer.decode(ids, skip_special_tokens=True)
        if not text.endswith(INCOMPLETE) and len(text) > len(shown):
            yield text[len(shown) :]
            shown = text
    rest = checkpoint.tokenizer.decode(ids, skip_special_tokens=True)[len(shown) :]
    if rest:
        yield rest


@torch.inference_mode()
def stream_tokens(checkpoint: Checkpoint, row: GenerationRequest, decoding: Decoding) -> Iterator[int]:
    """Yield the tokens of one response without its end token: those of `generate.sampled` for a batch of this row."""
    model = checkpoint.model
    rng = generator(decoding.seed, row.prompt.id, row.sample)
    ids = torch.tensor([row.ids], device=model.device)  # (1, tokens)
    generated = torch.zeros(1, model.config.vocab_size, dtype=torch.bool, device=model.device)
    cache = DynamicCache(config=model.config)
    length = ids.shape[1]
    for step in range(1, min(decoding.max_tokens, checkpoint.context - length) + 1):
        total = length + step - 1
        positions = torch.arange(total - ids.shape[1], total, device=model.device)[None]
        mask = torch.ones(1, total, dtype=torch.long, device=model.device)
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        logits = output.logits[:, -1].float()
        refuse_not_finite(checkpoint, logits, [row], step=step)
        logits = logits.masked_fill(checkpoint.unwritable, -torch.inf)
        logits = nucleus_sampling.repetition_penalized(logits, generated, penalty=decoding.repetition_penalty)
        uniform = torch.tensor([rng.random()], device=model.device)
        tokens = nucleus_sampling.draw(logits, uniform, temperature=decoding.temperature, top_p=decoding.top_p)
        token = int(tokens[0])
        if token in checkpoint.ends:
            return
        yield token
        generated.scatter_(1, tokens[:, None], True)
        ids = tokens[:, None]
