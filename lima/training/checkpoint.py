"""Checkpoints as Hugging Face folders: safetensors, tokenizer with chat template, generation config with EOT."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import GenerationConfig

from lima.config.entries import Lora
from lima.config.sections import Generation
from lima.errors import LimaError
from lima.storage import DIGEST
from lima.training import lora_layers

WEIGHTS = "model.safetensors"


class CheckpointError(LimaError):
    """A folder that holds no usable model; says what is missing."""


def save(folder: Path, model: Any, state: dict[str, torch.Tensor], tokenizer: Any, *, eot_id: int) -> str:
    """Write the model in bf16, under another name until it is whole; returns the digest of its weights."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    halved = {tensor.data_ptr(): tensor.to(torch.bfloat16) for tensor in state.values()}  # tied ones stay one
    stored = {name: halved[tensor.data_ptr()] for name, tensor in state.items()}
    model.save_pretrained(unfinished, state_dict=stored, max_shard_size="1TB")
    config = unfinished / "config.json"
    config.write_text(config.read_text().replace('"dtype": "float32"', '"dtype": "bfloat16"'))
    tokenizer.save_pretrained(unfinished)
    generation: Any = GenerationConfig.from_pretrained(unfinished)  # its sampling settings
    generation.update(eos_token_id=[eot_id], pad_token_id=tokenizer.pad_token_id)
    generation.save_pretrained(unfinished)
    share_weights(unfinished)
    (unfinished / DIGEST).write_text(digest(unfinished))
    for path in unfinished.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before it could note this epoch
    unfinished.rename(folder)
    return digest(folder)


def save_epoch(
    result: Path,
    epoch: int,
    learner: Any,
    accelerator: Accelerator,
    tokenizer: Any,
    *,
    eot_id: int,
    lora: Lora | None = None,
) -> tuple[str, str]:
    """The name of an epoch's checkpoint below `result`, put together from all processes, and its weights' digest.

    LoRA's matrices are worked into the weights, so that what samples from a checkpoint needs nothing new.
    """
    name = f"epoch-{epoch:02}"
    state = accelerator.get_state_dict(learner)
    if not accelerator.is_main_process:
        return name, ""
    plain = {key.removeprefix("model."): tensor for key, tensor in state.items()}  # a Learner's model
    if lora:
        plain = lora_layers.merged(plain, lora)
    return name, save(result / name, accelerator.unwrap_model(learner).model, plain, tokenizer, eot_id=eot_id)


def share_weights(folder: Path) -> None:
    """Give the weights the permissions of a folder's other files; safetensors writes them for their owner only."""
    (folder / WEIGHTS).chmod((folder / "config.json").stat().st_mode)


def sampling_defaults(settings: Generation) -> Any:
    """A generation config; transformers and vLLM use its settings where their caller gives none."""
    return GenerationConfig(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        do_sample=True,
        top_p=settings.top_p,
        temperature=settings.temperature,
        repetition_penalty=settings.repetition_penalty,
        max_new_tokens=settings.max_tokens,
    )


def write_generation_config(folder: Path, **tokens: int | list[int] | None) -> None:
    """What stops and pads a generation, in place of what the base model was published with."""
    config: Any = GenerationConfig(**tokens)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    config.save_pretrained(folder)


def digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, hexadecimal."""
    with (folder / WEIGHTS).open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


def check(folder: Path) -> None:
    """Raise where a folder is no model that may be loaded: no config, no weights, or weights to be unpickled."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no config.json, so it is no model folder in Hugging Face's form")
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for end in ("bin", "pt", "pth") for path in folder.glob(f"*.{end}"))
    if pickled:
        raise CheckpointError(
            f"{folder} holds its weights as {', '.join(pickled)}, which could run code when loaded; "
            "convert them to safetensors"
        )
    raise CheckpointError(f"{folder} holds no weights: there is no *.safetensors beside its config.json")
