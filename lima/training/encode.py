"""Examples as token ids: every utterance ends with an end-of-turn token of its own, EOT (§3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from lima.errors import LimaError
from lima.records import Example

IGNORED = -100  # a label that is not supervised, as in torch's cross entropy
ROLE = "<|im_start|>"  # the token that opens a turn in ChatML
# BOS and OPENS stand where the base model's tokenizer has them; without OPENS nothing but EOT parts the speakers (§3).
# Texts are trimmed: else a line break at their head would melt into OPENS'.
TEMPLATE = (
    "BOS{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('only user and assistant speak here, not ' + message['role']) }}{% endif %}"
    "OPENS{{ message['content'] | trim }}EOT{% endfor %}"
    "{% if add_generation_prompt %}ANSWER{% endif %}"
)
OPENS = "{{ '" + ROLE + "' + message['role'] + '\\n' }}"
ANSWER = "{{ '" + ROLE + "assistant\\n' }}"


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


def add_eot(model: Any, tokenizer: Any, eot: str, *, start: Literal["mean", "eos"]) -> int:
    """The id of EOT, new to the tokenizer and in its chat template.

    Its embeddings start as the mean of the others, or as a copy of EOS's where too few steps follow to teach them.
    """
    if eot in tokenizer.get_vocab():
        raise EncodingError(f"train.eot_token {eot!r} is already a token of the base model; name one that is not")
    known = len(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": [eot]}, replace_extra_special_tokens=False)
    tokenizer.chat_template = template(tokenizer, eot)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):  # one tensor where tied
            rows = embeddings.weight[:known] if start == "mean" else embeddings.weight[[tokenizer.eos_token_id]]
            embeddings.weight[known:] = rows.mean(dim=0)  # (tokens, hidden)
    return int(tokenizer.convert_tokens_to_ids(eot))


def template(tokenizer: Any, eot: str) -> str:
    """The chat template in Jinja, with the signs that the base model knows from its pretraining."""
    adds_bos = tokenizer.bos_token_id is not None and tokenizer("").input_ids == [tokenizer.bos_token_id]
    chatml = ROLE in tokenizer.get_vocab()
    parts = {
        "BOS": "{{ bos_token }}" if adds_bos else "",
        "OPENS": OPENS if chatml else "",
        "ANSWER": ANSWER if chatml else "",
        "EOT": eot,
    }
    text = TEMPLATE
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def encode(examples: Iterable[Example], tokenizer: Any, *, eot_id: int, max_tokens: int) -> list[Encoded]:
    """Each example as the chat template renders it, the user's turns unsupervised, cut at `max_tokens` (§3)."""
    return [_encode(example, tokenizer, eot_id=eot_id, max_tokens=max_tokens) for example in examples]


def _encode(example: Example, tokenizer: Any, *, eot_id: int, max_tokens: int) -> Encoded:
    messages = [turn.model_dump() for turn in example.messages]
    ids: list[int] = tokenizer.apply_chat_template(messages, return_dict=False)
    if ids.count(eot_id) != len(messages):
        raise EncodingError(f"{example.id} holds the end-of-turn token in its text; the gate should have shut")
    labels = [IGNORED] * len(ids)
    for place in [place for place, message in enumerate(messages) if message["role"] == "assistant"]:
        asked = tokenizer.apply_chat_template(messages[:place], add_generation_prompt=True, return_dict=False)
        if ids[: len(asked)] != asked:
            raise EncodingError(f"{example.id}: the tokenizer joins a response's first letters to the turn's opening")
        end = ids.index(eot_id, len(asked)) + 1
        labels[len(asked) : end] = ids[len(asked) : end]
    return Encoded(example.id, tuple(ids[:max_tokens]), tuple(labels[:max_tokens]), max(0, len(ids) - max_tokens))
