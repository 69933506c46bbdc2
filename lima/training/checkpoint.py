"""Checkpoints in Hugging Face format: safetensors, tokenizer with chat template, generation config with EOT."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
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
from lima.training.protocols import CausalLM, ChatTokenizer

WEIGHTS = "model.safetensors"


class CheckpointError(LimaError):
    """Raised when a folder is not a usable model or training state."""


def save(
    folder: Path, model: CausalLM, state: dict[str, torch.Tensor], tokenizer: ChatTokenizer, *, eot_id: int
) -> str:
    """Write the model in bf16 atomically; return the digest of its weights (see `digest`).

    Args:
        state: Weights by name; tied weights share their storage, in the checkpoint too.
        eot_id: Token that ends generation.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    bf16 = {tensor.data_ptr(): tensor.to(torch.bfloat16) for tensor in state.values()}  # keeps tied weights tied
    stored = {name: bf16[tensor.data_ptr()] for name, tensor in state.items()}
    model.save_pretrained(unfinished, state_dict=stored, max_shard_size="1TB")
    config = unfinished / "config.json"
    config.write_text(config.read_text().replace('"dtype": "float32"', '"dtype": "bfloat16"'))
    tokenizer.save_pretrained(unfinished)
    generation: Any = GenerationConfig.from_pretrained(unfinished)  # keeps the sampling settings
    generation.update(eos_token_id=[eot_id], pad_token_id=tokenizer.pad_token_id)
    generation.save_pretrained(unfinished)
    share_weights(unfinished)
    (unfinished / DIGEST).write_text(digest(unfinished))
    for path in unfinished.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)  # of a run killed before it recorded this epoch
    unfinished.rename(folder)
    return digest(folder)


def epoch_saver(
    result: Path,
    accelerator: Accelerator,
    tokenizer: ChatTokenizer,
    *,
    eot_id: int,
    lora: Lora | None,
    keep_epochs: Sequence[int],
) -> Callable[[int, torch.nn.Module], tuple[str, str]]:
    """Return the function (epoch, loss model) that saves a checkpoint as `save_epoch` does.

    Args:
        keep_epochs: First and last epoch of which a checkpoint is saved; of others the function returns ("", "").
    """

    first, last = keep_epochs

    def save(epoch: int, loss_model: torch.nn.Module) -> tuple[str, str]:
        if not first <= epoch <= last:
            return "", ""
        return save_epoch(result, epoch, loss_model, accelerator, tokenizer, eot_id=eot_id, lora=lora)

    return save


def save_epoch(
    result: Path,
    epoch: int,
    loss_model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: ChatTokenizer,
    *,
    eot_id: int,
    lora: Lora | None = None,
) -> tuple[str, str]:
    """Gather the weights from all processes and write an epoch's checkpoint below `result`.

    LoRA adapters are merged into the weights, so that a checkpoint loads as a plain model.

    Returns:
        The name of the checkpoint's folder, and the digest of its weights ("" except on the main process).
    """
    name = f"epoch-{epoch:02}"
    state = accelerator.get_state_dict(loss_model)
    if not accelerator.is_main_process:
        return name, ""
    plain = {key.removeprefix("model."): tensor for key, tensor in state.items()}  # LossModel.model
    if lora:
        plain = lora_layers.merged(plain, lora)
    return name, save(result / name, accelerator.unwrap_model(loss_model).model, plain, tokenizer, eot_id=eot_id)


def share_weights(folder: Path) -> None:
    """Copy the permissions of config.json to the weights, which safetensors makes readable by the owner only."""
    (folder / WEIGHTS).chmod((folder / "config.json").stat().st_mode)


def sampling_defaults(settings: Generation) -> Any:
    """Generation config with the default sampling settings of transformers and vLLM."""
    return GenerationConfig(  # type: ignore[no-untyped-call]  # not typed by transformers
        do_sample=True,
        top_p=settings.top_p,
        temperature=settings.temperature,
        repetition_penalty=settings.repetition_penalty,
        max_new_tokens=settings.max_tokens,
    )


def write_generation_config(folder: Path, **tokens: int | list[int] | None) -> None:
    """Replace the generation config by one with these stop and padding tokens."""
    config: Any = GenerationConfig(**tokens)  # type: ignore[no-untyped-call]  # not typed by transformers
    config.save_pretrained(folder)


def digest(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, hexadecimal."""
    with (folder / WEIGHTS).open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


def check(folder: Path) -> None:
    """Validate a model folder.

    Raises:
        CheckpointError: config.json or the weights are missing, or the weights are pickled.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json; use a model folder in Hugging Face format")
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for end in ("bin", "pt", "pth") for path in folder.glob(f"*.{end}"))
    if pickled:
        raise CheckpointError(
            f"the weights of {folder} are pickled ({', '.join(pickled)}) and could run code when loaded; "
            "convert them to safetensors"
        )
    raise CheckpointError(f"{folder} has no weights; add *.safetensors files")
