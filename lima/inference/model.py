"""A model for inference from a Hugging Face folder: weights, tokenizer with chat template, and end tokens."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lima.errors import LimaError
from lima.inference import packed_linear
from lima.records import Prompt
from lima.storage import DIGEST

PLAIN = "{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"  # without a chat template
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Logits(Protocol):
    """The part of a model's output that decoding reads."""

    logits: torch.Tensor  # (batch, tokens, vocabulary)


class CausalLM(Protocol):
    """The part of a transformers causal language model that decoding uses."""

    config: Any

    @property
    def device(self) -> torch.device: ...

    def __call__(
        self,
        *,
        input_ids: torch.Tensor,  # (batch, tokens)
        attention_mask: torch.Tensor,  # (batch, cached and new tokens)
        position_ids: torch.Tensor,  # (batch, tokens)
        past_key_values: Any,
        logits_to_keep: int,
    ) -> Logits: ...


class Encoding(Protocol):
    input_ids: list[int]


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that decoding uses."""

    chat_template: str | None
    bos_token_id: int | None

    def __call__(self, text: str) -> Encoding: ...

    def get_vocab(self) -> dict[str, int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...

    def apply_chat_template(
        self,
        conversation: Sequence[dict[str, str]],
        *,
        chat_template: str | None,
        add_generation_prompt: bool,
        return_dict: bool,
        sanitize_control_tokens: bool,
    ) -> Sequence[int]: ...


@dataclass(frozen=True)
class Checkpoint:
    model: CausalLM
    tokenizer: Tokenizer
    ends: frozenset[int]  # ids of the tokens that end a response, including EOT
    context: int  # greatest number of tokens of prompt and response together
    name: str = "in memory"  # folder, for messages

    @cached_property
    def unwritable(self) -> torch.Tensor:
        """Ids that must not be sampled, shape (ids,).

        They are neither a token of the tokenizer nor an end token, as in padded vocabularies.
        """
        known = {*self.tokenizer.get_vocab().values(), *self.ends}
        ids = [id_ for id_ in range(self.model.config.vocab_size) if id_ not in known]
        return torch.tensor(ids, dtype=torch.long, device=self.model.device)


def load(folder: Path, *, precision: Literal["fp32", "bf16"]) -> Checkpoint:
    """Load a checkpoint for inference.

    Args:
        precision: bf16 halves the memory traffic per token, but is several times slower on a CPU without bf16
            instructions.

    Raises:
        LimaError: files are missing, the weights have changed, or the end token is missing.
    """
    if not (folder / "config.json").exists() or not any(folder.glob("*.safetensors")):
        raise LimaError(
            f"{folder} is not a Hugging Face folder: config.json or *.safetensors is missing; run the stage that "
            "writes it again"
        )
    check_digest(folder)
    # cuDNN's attention builds a plan for each new shape, and every decoding step has a new shape
    torch.backends.cuda.enable_cudnn_sdp(False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[precision], local_files_only=True)
    model.to(device).eval()
    packed_linear.pack(model)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ends = model.generation_config.eos_token_id
    if ends is None:
        raise LimaError(f"eos_token_id is missing in {folder}/generation_config.json; add it, so that responses end")
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        ends=frozenset([ends] if isinstance(ends, int) else ends),
        # a model without a limit, such as ALiBi, has no such key
        context=getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize,
        name=str(folder),
    )


def check_digest(folder: Path) -> None:
    """Compare a checkpoint's weights with the digest that training wrote, if there is one. Raises LimaError."""
    digest_file, weights = folder / DIGEST, folder / "model.safetensors"
    if digest_file.is_file():
        with weights.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != digest_file.read_text():
            raise LimaError(
                f"{weights} was changed after training wrote it: its SHA-256 is not that in {digest_file}; train again"
            )


def render(tokenizer: Tokenizer, prompt: Prompt) -> list[int]:
    """Return the token ids of a prompt in the chat template, up to the beginning of the assistant's turn.

    For a base model without a template, the texts are joined, each followed by an empty line, as in pretraining data.
    Control tokens in the text of a prompt are encoded as plain text.
    """
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    plain = tokenizer.chat_template is None
    try:
        ids = tokenizer.apply_chat_template(
            turns,
            chat_template=PLAIN if plain else None,
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=True,
        )
    except ValueError as error:  # from transformers; the message names the token
        raise LimaError(f"prompt {prompt.id}: {error}; edit or drop the prompt") from error
    return [*bos_ids(tokenizer), *ids] if plain else list(ids)


def bos_ids(tokenizer: Tokenizer) -> list[int]:
    """The id of BOS if the tokenizer puts it before a text, else nothing."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("a").input_ids[:1] == [bos] else []
