"""Examples as token ids: every utterance ends with an end-of-turn token of its own, EOT (§3)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from lima.errors import LimaError
from lima.records import Example

IGNORED = -100  # a label that is not supervised, as in torch's cross entropy
ROLE = "<|im_start|>"  # the token that opens a turn in ChatML
PIPED = re.compile(r"<[|｜].*[|｜]>")  # the spelling of control tokens in most tokenizers
# BOS and OPENS stand where the base model's tokenizer has them; without OPENS nothing but EOT parts the speakers (§3).
# A system turn may come first, unsupervised like the user's; the paper has none.
# Texts are trimmed: else a line break at their head would melt into OPENS'.
TEMPLATE = (
    "BOS{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] and not (loop.first and message['role'] == 'system') %}"
    "{{ raise_exception('only user and assistant speak here, after one system turn at most, not ' + message['role']) }}"
    "{% endif %}"
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
    """Add EOT to the tokenizer, its chat template and the embeddings; return its id. The tokenizer's EOS becomes EOT.

    EOT takes a spare row of the embeddings where the model has one (padded vocabularies); no other row changes. Its
    row starts as the mean of the rows of the other tokens, or as a copy of EOS's where few steps follow to train it.
    """
    vocabulary = tokenizer.get_vocab()
    if eot in vocabulary:
        raise EncodingError(f"train.eot_token {eot!r} is already a token of the base model; name one that is not")
    if start == "eos" and tokenizer.eos_token_id is None:
        raise EncodingError("train.eot_start is eos, but the base model's tokenizer has no EOS token; set it to mean")
    control = control_tokens(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": [eot]}, replace_extra_special_tokens=False)
    tokenizer.chat_control_tokens = control
    tokenizer.chat_template = template(tokenizer, eot)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    eot_id, rows = int(tokenizer.convert_tokens_to_ids(eot)), model.get_input_embeddings().weight.shape[0]
    if eot_id in vocabulary.values():
        (taken,) = [token for token, id_ in vocabulary.items() if id_ == eot_id]
        raise EncodingError(
            f"train.eot_token {eot!r} gets the id {eot_id}, which token {taken!r} has already: the ids of the base "
            "model's tokenizer have gaps; add a token for each missing id to its tokenizer.json"
        )
    if eot_id >= rows:
        model.resize_token_embeddings(eot_id + 1, mean_resizing=False)
    tokens = sorted({id_ for id_ in vocabulary.values() if id_ < rows})  # not the spare rows
    known = tokens if start == "mean" else [tokenizer.eos_token_id]
    tokenizer.eos_token = eot  # other tools end an answer there
    with torch.no_grad():
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):  # one tensor where tied
            embeddings.weight[eot_id] = embeddings.weight[known].mean(dim=0)  # (hidden,)
    return eot_id


def control_tokens(tokenizer: Any) -> list[str]:
    """Added tokens that structure a chat although they are not marked special, such as Qwen's <think>.

    They are those with a role of their own (EOS, say), those spelled like <|…|>, and those in the base model's own chat
    template. Other added tokens, such as runs of spaces or Gemma's HTML tags, are ordinary text.
    """
    named = {*tokenizer.all_special_tokens, *(tokenizer.chat_control_tokens or ())}
    written = str(tokenizer.chat_template or "")
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    return [text for text in added if text in named or PIPED.fullmatch(text) or (text in written and text.strip())]


def template(tokenizer: Any, eot: str) -> str:
    """The chat template in Jinja, with the signs that the base model knows from its pretraining."""
    adds_bos = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
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
    """Each example as the chat template renders it, system and user turns unsupervised, cut at `max_tokens` (§3).

    Raises EncodingError where a text contains EOT, or where the tokenizer cannot encode a control token as plain text.
    """
    control = control_ids(tokenizer)
    return [_encode(example, tokenizer, control, eot_id=eot_id, max_tokens=max_tokens) for example in examples]


def _encode(example: Example, tokenizer: Any, control: frozenset[int], *, eot_id: int, max_tokens: int) -> Encoded:
    messages = [turn.model_dump() for turn in example.messages]
    eot = tokenizer.convert_ids_to_tokens(eot_id)
    if any(eot in turn.content for turn in example.messages):
        raise EncodingError(f"{example.id}: a text contains the end-of-turn token {eot}; validation rejects such rows")
    try:
        ids = chat_ids(tokenizer, messages)
    except ValueError as error:  # of transformers: its words name the token
        raise EncodingError(f"{example.id}: {error}; edit or drop the row") from error
    _refuse_control_tokens(example, ids, tokenizer, control)
    labels = [IGNORED] * len(ids)
    for place in [place for place, message in enumerate(messages) if message["role"] == "assistant"]:
        asked = chat_ids(tokenizer, messages[:place], add_generation_prompt=True)
        if ids[: len(asked)] != asked:
            raise EncodingError(f"{example.id}: the tokenizer joins a response's first letters to the turn's opening")
        end = ids.index(eot_id, len(asked)) + 1
        labels[len(asked) : end] = ids[len(asked) : end]
    return Encoded(example.id, tuple(ids[:max_tokens]), tuple(labels[:max_tokens]), max(0, len(ids) - max_tokens))


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that only a chat template may write; a tokenizer's <unk> stands for ordinary text."""
    extra = tokenizer.chat_control_tokens or ()
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(id_ for id_, token in added if token.special or token.content in extra) - {tokenizer.unk_token_id}


def _refuse_control_tokens(example: Example, ids: list[int], tokenizer: Any, control: frozenset[int]) -> None:
    """Raise if a text became a control token all the same, say through the tokenizer's Unicode normalization."""
    bare = chat_ids(tokenizer, [{"role": turn.role, "content": "a"} for turn in example.messages])
    wanted, there = ([token for token in row if token in control] for row in (bare, ids))
    if there != wanted:
        names = ", ".join(tokenizer.convert_ids_to_tokens(there))
        raise EncodingError(
            f"{example.id}: the tokenizer reads part of a text as a control token (control tokens of the example: "
            f"{names}); edit or drop the row"
        )


def chat_ids(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool = False) -> list[int]:
    """Token ids of the rendered chat template; control tokens that a message spells are encoded as plain text."""
    ids: list[int] = tokenizer.apply_chat_template(
        messages, add_generation_prompt=add_generation_prompt, return_dict=False, sanitize_control_tokens=True
    )
    return ids
