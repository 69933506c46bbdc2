"""Examples as token ids: every utterance ends with an end-of-turn token of its own, EOT (§3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lima.errors import LimaError
from lima.records import Example

IGNORED = -100  # a label that is not supervised, as in torch's cross entropy
# As in §3 nothing but EOT separates the speakers. BOS stands where the base model's tokenizer sets one.
TEMPLATE = (
    "BOS{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('only user and assistant speak here, not ' + message['role']) }}{% endif %}"
    "{{ message['content'] }}EOT{% endfor %}"
)


class EncodingError(LimaError):
    """A token or text that cannot be encoded as §3 asks."""


@dataclass(frozen=True)
class Encoded:
    """One example: `labels` are `ids` where supervised (responses and their EOT) and IGNORED elsewhere."""

    id: str
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    cut: int  # tokens beyond max_tokens, left away

    @property
    def supervised(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def add_eot(model: Any, tokenizer: Any, eot: str) -> int:
    """The id of EOT, new to the tokenizer, in its chat template, its embedding the mean of the others."""
    if eot in tokenizer.get_vocab():
        raise EncodingError(f"train.eot_token {eot!r} is already a token of the base model; name one that is not")
    known = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [eot]})
    adds_bos = tokenizer.bos_token_id is not None and tokenizer("").input_ids == [tokenizer.bos_token_id]
    tokenizer.chat_template = TEMPLATE.replace("BOS", "{{ bos_token }}" if adds_bos else "").replace("EOT", eot)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for embeddings in {model.get_input_embeddings(), model.get_output_embeddings()}:
            embeddings.weight[known:] = embeddings.weight[:known].mean(dim=0)  # (tokens, hidden)
    return int(tokenizer.convert_tokens_to_ids(eot))


def encode(examples: Iterable[Example], tokenizer: Any, *, eot_id: int, max_tokens: int) -> list[Encoded]:
    """Each example as the chat template renders it, the user's turns unsupervised, cut at `max_tokens` (§3)."""
    return [_encode(example, tokenizer, eot_id=eot_id, max_tokens=max_tokens) for example in examples]


def _encode(example: Example, tokenizer: Any, *, eot_id: int, max_tokens: int) -> Encoded:
    messages = [turn.model_dump() for turn in example.messages]
    ids: list[int] = tokenizer.apply_chat_template(messages, return_dict=False)
    if ids.count(eot_id) != len(messages):
        raise EncodingError(f"{example.id} holds the end-of-turn token in its text; the gate should have shut")
    labels, ended = [], 0
    for token in ids:  # EOT ends utterances and stands nowhere else: an odd number of them before means a response
        labels.append(token if ended % 2 else IGNORED)
        ended += token == eot_id
    return Encoded(example.id, tuple(ids[:max_tokens]), tuple(labels[:max_tokens]), max(0, len(ids) - max_tokens))
