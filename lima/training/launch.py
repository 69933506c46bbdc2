"""The processes that train together, and the model they start from."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lima.config.entries import Lora
from lima.config.sections import Train
from lima.errors import LimaError
from lima.training import allocator, attention, checkpoint, lora_layers, residual_dropout, throughput, tokenization


class LaunchError(LimaError):
    """Training that cannot start: processes that do not know of each other, or a model with too few positions."""


def accelerator(recipe: Train) -> Accelerator:
    """Accelerate's view of the processes, after making sure that it is the launcher's."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    sharded = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    # without a GPU, processes talk by gloo; DeepSpeed would ask for another library
    talk = [InitProcessGroupKwargs(backend="gloo")] if sharded and not torch.cuda.is_available() else []
    found = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no", kwargs_handlers=talk)
    if found.num_processes != launched:
        raise LaunchError(
            f"{launched} processes were launched, but each believes to be one of {found.num_processes}; start training "
            "with `accelerate launch --config_file infra/accelerate/zero3.yaml` (train.launch in params.yaml)"
        )
    plugin = found.state.deepspeed_plugin
    if plugin:  # it bounds the gradient itself, and asks for a micro-batch's rows: one, packed
        plugin.deepspeed_config |= {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": recipe.max_grad_norm}
    if found.device.type == "cpu":
        allocator.keep_freed_memory()
        if recipe.precision == "bf16":
            _warn_of_emulation()
    return found


def _warn_of_emulation() -> None:
    """Say so where bf16, which a processor without instructions for it emulates, is slower than fp32."""
    bf16, fp32 = throughput.multiplied(torch.bfloat16), throughput.multiplied(torch.float32)
    if bf16 < fp32:
        print(
            f"warning: this processor multiplies bf16 at {bf16 / 1e9:.0f} GFLOP/s and fp32 at {fp32 / 1e9:.0f}; "
            "train.precision: fp32 would be faster and more exact here",
            file=sys.stderr,
        )


def starting_point(base: Path, recipe: Train, lora: Lora | None = None) -> tuple[Any, Any, int]:
    """The base model in fp32 with residual dropout, its tokenizer with EOT and the chat template, and EOT's id."""
    checkpoint.check(base)
    refuse_missing_positions(base, recipe.max_tokens)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    eot_id = tokenization.add_eot(model, tokenizer, recipe.eot_token, start=recipe.eot_start)
    model.config.eos_token_id = eot_id
    model.generation_config = checkpoint.sampling_defaults(recipe.generation)
    for_training(model, recipe)
    if lora:
        lora_layers.add(model, lora, seed=recipe.seed)
    return model, tokenizer, eot_id


def refuse_missing_positions(base: Path, max_tokens: int) -> None:
    """Raise if examples may be longer than the model has positions; without a limit (ALiBi, say) any length passes."""
    positions = getattr(AutoConfig.from_pretrained(base).get_text_config(), "max_position_embeddings", None)
    if positions and max_tokens > positions:
        raise LaunchError(
            f"train.max_tokens is {max_tokens:,}, but {base} has {positions:,} positions (max_position_embeddings in "
            f"its config.json); set train.max_tokens to at most {positions}"
        )


def for_training(model: Any, recipe: Train) -> None:
    """Give a model the recipe's dropout in place of its own, and attention that keeps packed examples apart."""
    # cuDNN's attention builds a plan for each new shape, and nearly each example has a shape of its own
    torch.backends.cuda.enable_cudnn_sdp(False)
    model.set_attn_implementation(attention.implementation(model, max_tokens=recipe.max_tokens))
    residual_dropout.disable_model_dropout(model)
    if recipe.residual_dropout:
        residual_dropout.add_residual_dropout(model, recipe.residual_dropout)
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
