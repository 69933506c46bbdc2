"""One response at a time from a checkpoint, as a stream of texts, with the decoding of the stage sample (LIMA §4)."""

from collections.abc import Iterator, Sequence

import torch

from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.inference.generate import Batch, GenerationRequest, Row
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
    sampling, batch, yielded = Row.of(row, checkpoint, decoding), Batch(checkpoint, decoding, 1), 0
    batch.join([sampling])
    while True:
        yield from sampling.ids[yielded:]
        yielded = len(sampling.ids)
        if not batch.rows:
            return
        batch.step()
