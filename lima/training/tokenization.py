"""Tokenization with a chat template: every turn ends with the end-of-turn token EOT (§3)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from lima.errors import LimaError
from lima.records import Example
from lima.training.protocols import CausalLM, ChatTokenizer

IGNORED = -100  # label of an unsupervised token, as in torch's cross-entropy
ROLE = "<|im_start|>"  # opens a turn in ChatML
PIPED = re.compile(r"<[|｜].*[|｜]>")  # the spelling of control tokens in most tokenizers
# BOS and OPENS are used if the base model's tokenizer has them; without OPENS only EOT separates the turns (§3).
# The first turn may be a system turn, which is unsupervised like a user's; the paper has none.
# Texts are trimmed: a leading line break would merge with the one that ends OPENS.
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
    """Raised when a token or text cannot be encoded in the format of §3."""


@dataclass(frozen=True)
class Encoded:
    """A tokenized example. Labels equal the ids of supervised tokens (responses and their EOT), else IGNORED."""

    id: str
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    cut: int  # number of tokens removed beyond max_tokens

    @property
    def supervised(self) -> int:
        """Supervised tokens."""
        return sum(label != IGNORED for label in self.labels)


def add_eot(model: CausalLM, tokenizer: ChatTokenizer, eot: str, *, start: Literal["mean", "eos"]) -> int:
    """Add EOT to the tokenizer, its chat template and the embeddings; EOT becomes the tokenizer's EOS.

    EOT uses an unused row of the embeddings if there is one (padded vocabularies). No other row changes.

    Args:
        eot: Text of the token.
        start: Initial embedding: the mean of the other tokens' rows, or a copy of EOS's row.

    Returns:
        The id of EOT.

    Raises:
        EncodingError: The token exists, `start` needs a missing EOS, or the tokenizer's ids have gaps.
    """
    vocabulary = tokenizer.get_vocab()
    if eot in vocabulary:
        raise EncodingError(f"train.eot_token {eot!r} is already a token of the base model; choose another")
    if start == "eos" and tokenizer.eos_token_id is None:
        raise EncodingError("the base model's tokenizer has no EOS token; set train.eot_start to mean")
    control = control_tokens(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": [eot]}, replace_extra_special_tokens=False)
    tokenizer.chat_control_tokens = control
    tokenizer.chat_template = template(tokenizer, eot)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    eot_id, rows = int(tokenizer.convert_tokens_to_ids(eot)), model.get_input_embeddings().weight.shape[0]
    if eot_id in vocabulary.values():
        (owner,) = [token for token, id_ in vocabulary.items() if id_ == eot_id]
        raise EncodingError(
            f"train.eot_token {eot!r} gets the id {eot_id} of token {owner!r}: the ids of the base model's tokenizer "
            "have gaps; add a token for each missing id to its tokenizer.json"
        )
    if eot_id >= rows:
        model.resize_token_embeddings(eot_id + 1, mean_resizing=False)
    tokens = sorted({id_ for id_ in vocabulary.values() if id_ < rows})  # without unused rows
    initial = tokens if start == "mean" else [tokenizer.eos_token_id]
    tokenizer.eos_token = eot  # other tools stop generation at EOS
    with torch.no_grad():
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):  # one tensor if tied
            embeddings.weight[eot_id] = embeddings.weight[initial].mean(dim=0)  # (hidden,)
    return eot_id


def control_tokens(tokenizer: ChatTokenizer) -> list[str]:
    """Added tokens that structure a chat but are not marked special, such as Qwen's <think>.

    These are tokens with a role (such as EOS), tokens spelled <|…|>, and tokens in the base model's chat template.
    Other added tokens, such as runs of spaces or Gemma's HTML tags, are ordinary text.
    """
    named = {*tokenizer.all_special_tokens, *(tokenizer.chat_control_tokens or ())}
    chat_template = str(tokenizer.chat_template or "")
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    return [
        text for text in added if text in named or PIPED.fullmatch(text) or (text in chat_template and text.strip())
    ]


def template(tokenizer: ChatTokenizer, eot: str) -> str:
    """Chat template in Jinja, with the base model's own BOS and ChatML tokens if it has them."""
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


def encode(examples: Iterable[Example], tokenizer: ChatTokenizer, *, eot_id: int, max_tokens: int) -> list[Encoded]:
    """Tokenize examples with the chat template and truncate them to `max_tokens` (§3).

    System and user turns are unsupervised.

    Raises:
        EncodingError: A text contains EOT, or the tokenizer cannot encode a control token as plain text.
    """
    control = control_ids(tokenizer)
    return [_encode(example, tokenizer, control, eot_id=eot_id, max_tokens=max_tokens) for example in examples]


def _encode(
    example: Example, tokenizer: ChatTokenizer, control: frozenset[int], *, eot_id: int, max_tokens: int
) -> Encoded:
    messages = [turn.model_dump() for turn in example.messages]
    eot = tokenizer.convert_ids_to_tokens(eot_id)
    if any(eot in turn.content for turn in example.messages):
        raise EncodingError(f"{example.id}: contains the end-of-turn token {eot}; validation should have rejected it")
    try:
        ids = chat_ids(tokenizer, messages)
    except ValueError as error:  # raised by transformers; names the token
        raise EncodingError(f"{example.id}: {error}; edit or drop the row") from error
    _refuse_control_tokens(example, ids, tokenizer, control)
    labels = [IGNORED] * len(ids)
    for index in [index for index, message in enumerate(messages) if message["role"] == "assistant"]:
        prompt = chat_ids(tokenizer, messages[:index], add_generation_prompt=True)
        if ids[: len(prompt)] != prompt:
            raise EncodingError(
                f"{example.id}: the tokenizer merges the start of a response with its prompt; use another base model"
            )
        end = ids.index(eot_id, len(prompt)) + 1
        labels[len(prompt) : end] = ids[len(prompt) : end]
    return Encoded(example.id, tuple(ids[:max_tokens]), tuple(labels[:max_tokens]), max(0, len(ids) - max_tokens))


def control_ids(tokenizer: ChatTokenizer) -> frozenset[int]:
    """Ids of tokens reserved for the chat template. <unk> is excluded: it replaces ordinary text."""
    extra = tokenizer.chat_control_tokens or ()
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(id_ for id_, token in added if token.special or token.content in extra) - {tokenizer.unk_token_id}


def _refuse_control_tokens(example: Example, ids: list[int], tokenizer: ChatTokenizer, control: frozenset[int]) -> None:
    """Raise if part of a text became a control token, for example through Unicode normalization."""
    expected = chat_ids(tokenizer, [{"role": turn.role, "content": "a"} for turn in example.messages])
    expected_control, actual = ([token for token in row if token in control] for row in (expected, ids))
    if actual != expected_control:
        names = ", ".join(tokenizer.convert_ids_to_tokens(actual))
        raise EncodingError(
            f"{example.id}: the tokenizer reads part of a text as a control token (control tokens of the example: "
            f"{names}); edit or drop the row"
        )


def chat_ids(
    tokenizer: ChatTokenizer, messages: list[dict[str, str]], *, add_generation_prompt: bool = False
) -> list[int]:
    """Token ids of the rendered chat template; control tokens spelled in a message are encoded as plain text."""
    ids: list[int] = tokenizer.apply_chat_template(
        messages, add_generation_prompt=add_generation_prompt, return_dict=False, sanitize_control_tokens=True
    )
    return ids
