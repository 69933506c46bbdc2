"""Set up distributed training (Accelerate) and prepare the base model."""

import os
import sys
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lima.config.entries import Lora
from lima.config.sections import Train
from lima.errors import LimaError
from lima.training import (
    allocator,
    attention,
    checkpoint,
    lora_layers,
    precision,
    residual_dropout,
    selective_checkpointing,
    throughput,
    tokenization,
)
from lima.training.protocols import CausalLM, ChatTokenizer


class LaunchError(LimaError):
    """Raised when training cannot start: unconnected processes, or a model with too few positions."""


def accelerator(recipe: Train) -> Accelerator:
    """Create the Accelerator.

    Raises:
        LaunchError: The number of processes differs from the launcher's.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    sharded = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    # without a GPU, processes communicate with gloo; DeepSpeed's default is another library
    handlers = [InitProcessGroupKwargs(backend="gloo")] if sharded and not torch.cuda.is_available() else []
    created = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no", kwargs_handlers=handlers)
    if created.num_processes != launched:
        raise LaunchError(
            f"{launched} processes were launched, but Accelerate reports {created.num_processes}; start training "
            "with `accelerate launch --config_file infra/accelerate/zero3.yaml` (train.launch in params.yaml)"
        )
    plugin = created.state.deepspeed_plugin
    if plugin:  # DeepSpeed clips the gradient itself; a packed micro-batch is one row
        plugin.deepspeed_config |= {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": recipe.max_grad_norm}
    if created.device.type == "cpu":
        allocator.keep_freed_memory()
        if recipe.precision == "bf16":
            _warn_if_bf16_is_slow()
    return created


def _warn_if_bf16_is_slow() -> None:
    """Warn if bf16 is slower than fp32, as on CPUs that emulate it."""
    bf16, fp32 = throughput.matmul_flops(torch.bfloat16), throughput.matmul_flops(torch.float32)
    if bf16 < fp32:
        print(
            f"warning: bf16 is slower than fp32 on this CPU: {bf16 / 1e9:.0f} against {fp32 / 1e9:.0f} GFLOP/s; "
            "set train.precision: fp32",
            file=sys.stderr,
        )


def starting_point(base: Path, recipe: Train, lora: Lora | None = None) -> tuple[CausalLM, ChatTokenizer, int]:
    """Load the base model and prepare it for training.

    Returns:
        The model in fp32 with residual dropout (and LoRA adapters), the tokenizer with EOT and the chat template, and
        the id of EOT.

    Raises:
        CheckpointError: `base` is not a model folder.
        LaunchError: The model has fewer than train.max_tokens positions.
    """
    checkpoint.check(base)
    refuse_missing_positions(base, recipe.max_tokens)
    tokenizer = cast(ChatTokenizer, AutoTokenizer.from_pretrained(base))
    model = cast(CausalLM, AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True))
    eot_id = tokenization.add_eot(model, tokenizer, recipe.eot_token, start=recipe.eot_start)
    model.config.eos_token_id = eot_id
    model.generation_config = checkpoint.sampling_defaults(recipe.generation)
    configure_for_training(model, recipe)
    if lora:
        lora_layers.add(model, lora, seed=recipe.seed)
    return model, tokenizer, eot_id


def refuse_missing_positions(base: Path, max_tokens: int) -> None:
    """Raise if max_tokens exceeds the model's positions; models without a limit (ALiBi) accept any length."""
    positions = getattr(AutoConfig.from_pretrained(base).get_text_config(), "max_position_embeddings", None)
    if positions and max_tokens > positions:
        raise LaunchError(
            f"train.max_tokens {max_tokens:,} exceeds the {positions:,} positions of {base} (max_position_embeddings "
            f"in its config.json); set train.max_tokens to at most {positions}"
        )


def configure_for_training(model: CausalLM, recipe: Train) -> None:
    """Set packed attention, replace the model's dropout by the recipe's, and enable gradient checkpointing if set."""
    # cuDNN's attention compiles a plan for each new shape, and nearly every example has its own
    torch.backends.cuda.enable_cudnn_sdp(False)
    model.set_attn_implementation(attention.implementation(model, max_tokens=recipe.max_tokens))
    residual_dropout.disable_model_dropout(model)
    if recipe.residual_dropout:
        residual_dropout.add_residual_dropout(model, recipe.residual_dropout)
    if recipe.residual_precision == "bf16":
        precision.cast_residual_stream(model)
    if recipe.gradient_checkpointing:
        selective = {"context_fn": selective_checkpointing.contexts}
        model.activation_checkpointing_enable(
            {"use_reentrant": False} | (selective if recipe.gradient_checkpointing == "selective" else {})
        )
