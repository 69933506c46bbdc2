"""A Hugging Face folder as it answers: weights, tokenizer with chat template, and the tokens that end an answer."""

import hashlib
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lima.errors import LimaError
from lima.inference import skinny_matmul
from lima.records import Prompt
from lima.storage import DIGEST

PLAIN = "{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"  # of a base without a chat template
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Checkpoint:
    model: Any  # a transformers causal language model
    tokenizer: Any
    ends: frozenset[int]  # the tokens that end an answer, EOT among them
    context: int  # tokens of prompt and answer together

    @cached_property
    def unwritable(self) -> torch.Tensor:
        """Ids that are neither a token of the tokenizer nor end an answer; padded vocabularies have such rows.

        Shape (vocabulary,), true where an id must not be sampled.
        """
        mask = torch.ones(self.model.config.vocab_size, dtype=torch.bool)
        known = torch.tensor(sorted({*self.tokenizer.get_vocab().values(), *self.ends}))
        mask[known[known < len(mask)]] = False
        return mask.to(self.model.device)


def load(folder: Path, *, precision: Literal["fp32", "bf16"]) -> Checkpoint:
    """The checkpoint in a folder.

    bf16 reads half the bytes a token; but a processor that cannot multiply in bf16 takes several times as long over it.
    """
    if not (folder / "config.json").exists() or not any(folder.glob("*.safetensors")):
        raise LimaError(
            f"{folder} is no Hugging Face folder with config.json and *.safetensors; run the stage that writes it again"
        )
    check_digest(folder)
    # cuDNN's attention builds a plan for each new shape, and each step of sampling has one of its own
    torch.backends.cuda.enable_cudnn_sdp(False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[precision], local_files_only=True)
    model.to(device).eval()
    skinny_matmul.use_skinny_matmul(model)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ends = model.generation_config.eos_token_id
    if ends is None:
        raise LimaError(f"{folder}/generation_config.json names no eos_token_id, so no answer would ever end; add it")
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        ends=frozenset([ends] if isinstance(ends, int) else ends),
        # a model without a limit (ALiBi, say) has no such key
        context=getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize,
    )


def check_digest(folder: Path) -> None:
    """Raise where a checkpoint's weights are not those that training wrote and took the digest of."""
    mark, weights = folder / DIGEST, folder / "model.safetensors"
    if mark.is_file():
        with weights.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != mark.read_text():
            raise LimaError(
                f"{weights} was changed after training wrote it: its SHA-256 is not that in {mark}; train again"
            )


def render(tokenizer: Any, prompt: Prompt) -> list[int]:
    """The prompt's tokens in the tokenizer's chat template, up to where the assistant speaks.

    A pretrained base without a template gets the plain texts, each followed by an empty line, as it met them in its
    pretraining. Control tokens that a prompt spells are encoded as plain text.
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
    except ValueError as error:  # of transformers: its words name the token
        raise LimaError(f"prompt {prompt.id}: {error}; edit or drop the prompt") from error
    return [*begins(tokenizer), *ids] if plain else list(ids)


def begins(tokenizer: Any) -> list[int]:
    """BOS, where the tokenizer puts it before a text."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("a").input_ids[:1] == [bos] else []
