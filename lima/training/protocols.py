"""Protocols of the models and tokenizers that training uses; transformers leaves many of their methods untyped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, overload

import torch


class CausalLM(Protocol):
    """A causal language model of transformers, a torch.nn.Module."""

    config: Any  # its fields differ between architectures
    generation_config: Any  # not typed by transformers
    _supports_sdpa: bool

    @property
    def device(self) -> torch.device: ...

    @property
    def base_model(self) -> Callable[..., Any]:
        """The model without its output head."""

    def __call__(self, **inputs: object) -> Any: ...  # outputs differ between architectures
    def train(self, mode: bool = True) -> object: ...
    def eval(self) -> object: ...
    def modules(self) -> Iterator[torch.nn.Module]: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def num_parameters(self) -> int: ...
    def get_input_embeddings(self) -> torch.nn.Embedding: ...
    def get_output_embeddings(self) -> torch.nn.Linear: ...
    def resize_token_embeddings(self, rows: int, /, *, mean_resizing: bool) -> object: ...
    def set_attn_implementation(self, name: str, /) -> None: ...
    def _can_set_attn_implementation(self) -> bool: ...
    def activation_checkpointing_enable(self, options: dict[str, object], /) -> None: ...
    def to(self, dtype: torch.dtype, /) -> "CausalLM": ...
    def save_pretrained(self, folder: Path, /, **options: object) -> object: ...


class AddedToken(Protocol):
    """A token of tokenizers.AddedToken."""

    content: str
    special: bool


class TokenizedText(Protocol):
    input_ids: list[int]


class ChatTokenizer(Protocol):
    """A tokenizer of transformers."""

    bos_token_id: int | None
    eos_token: str | None
    eos_token_id: int | None
    pad_token: str | None
    pad_token_id: int | None
    unk_token_id: int | None
    chat_template: str | None
    chat_control_tokens: Sequence[str] | None

    @property
    def all_special_tokens(self) -> list[str]: ...

    @property
    def added_tokens_decoder(self) -> Mapping[int, "AddedToken"]:
        """Added tokens by id."""

    def __call__(self, text: str, /) -> TokenizedText: ...
    def get_vocab(self) -> dict[str, int]: ...
    def convert_tokens_to_ids(self, token: str, /) -> int: ...
    @overload
    def convert_ids_to_tokens(self, ids: int, /) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: list[int], /) -> list[str]: ...
    def add_special_tokens(
        self, tokens: Mapping[str, Sequence[str]], /, *, replace_extra_special_tokens: bool
    ) -> int: ...
    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], /, **options: object
    ) -> Any: ...  # text or token ids, depending on the options
    def decode(self, ids: Sequence[int], /) -> str: ...
    def save_pretrained(self, folder: Path, /) -> object: ...
