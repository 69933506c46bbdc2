"""Set up distributed training (Accelerate) and prepare the base model."""

import json
import os
import sys
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, KwargsHandler
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lima.config.entries import Lora
from lima.config.sections import Train
from lima.errors import LimaError
from lima.training import (
    allocator,
    attention,
    checkpoint,
    cost_formulas,
    determinism,
    lora_layers,
    precision,
    residual_dropout,
    selective_checkpointing,
    throughput,
    tokenization,
)
from lima.training.protocols import CausalLM, ChatTokenizer

CPU_MICRO_TOKENS = 1024  # 1,000 to 2,000 are fastest on a CPU


class LaunchError(LimaError):
    """Raised when training cannot start: unconnected processes, or a model with too few positions."""


def accelerator(recipe: Train) -> Accelerator:
    """Create the Accelerator, and set whether PyTorch is deterministic.

    Raises:
        LaunchError: The number of processes differs from the launcher's.
        NotDeterministic: The environment does not allow train.deterministic.
    """
    determinism.configure(recipe.deterministic)  # before CUDA starts
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    sharded = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    created = Accelerator(
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        kwargs_handlers=_process_options(recipe, sharded=sharded),
    )
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


def _process_options(recipe: Train, *, sharded: bool) -> list[KwargsHandler]:
    """Options of the communication of processes."""
    options: list[KwargsHandler] = []
    if sharded and not torch.cuda.is_available():
        options.append(InitProcessGroupKwargs(backend="gloo"))  # DeepSpeed's default is another library
    if recipe.deterministic:
        # else the first step sends the gradients in another order than the steps after it, also when training resumes;
        # with three processes or more, the order of a sum depends on a gradient's place
        options.append(DistributedDataParallelKwargs(find_unused_parameters=True))
    return options


def _warn_if_bf16_is_slow() -> None:
    """Warn if bf16 is slower than fp32, as on CPUs that emulate it."""
    bf16, fp32 = throughput.matmul_flops(torch.bfloat16), throughput.matmul_flops(torch.float32)
    if bf16 < fp32:
        print(
            f"warning: bf16 is slower than fp32 on this CPU: {bf16 / 1e9:.0f} against {fp32 / 1e9:.0f} GFLOP/s; "
            "set train.precision: fp32",
            file=sys.stderr,
        )


def with_micro_batches(recipe: Train, base: Path, accelerator: Accelerator) -> Train:
    """Replace micro_batch_tokens "auto" by a number; the main process logs it.

    On CUDA, the largest micro-batches that fit by the estimate of `lima plan`, equal on all processes; call it before
    the model is on the GPU.

    Raises:
        LaunchError: The memory of the model cannot be estimated.
    """
    if recipe.micro_batch_tokens != "auto":
        return recipe
    tokens, reason = max(CPU_MICRO_TOKENS, recipe.max_tokens), "on a CPU"
    if accelerator.device.type == "cuda":
        free = torch.tensor(float(torch.cuda.mem_get_info(accelerator.device)[0]), device=accelerator.device)
        least = float(accelerator.gather(free).min())
        tokens, reason = _fitting(recipe, base, accelerator, free=least), f"for {least / 1e9:.1f} GB of free memory"
    if accelerator.is_main_process:
        print(f"micro-batches of {tokens:,} tokens {reason} (train.micro_batch_tokens: auto)", file=sys.stderr)
    return recipe.model_copy(update={"micro_batch_tokens": tokens})


def _fitting(recipe: Train, base: Path, accelerator: Accelerator, *, free: float) -> int:
    """Tokens of the largest micro-batches that fit into `free` bytes with the launched way of sharding."""
    try:
        shape = cost_formulas.Shape.from_config(json.loads((base / "config.json").read_text(encoding="utf-8")))
    except KeyError as error:
        raise LaunchError(
            f"memory of {base} cannot be estimated: its config.json has no {error}; set train.micro_batch_tokens to a "
            "number"
        ) from error
    plugin = accelerator.state.deepspeed_plugin
    zero = plugin.deepspeed_config["zero_optimization"] if plugin else {}
    stage, offload = int(zero.get("stage", 0)), zero.get("offload_optimizer", {}).get("device", "none") != "none"
    matching = [s for s in cost_formulas.STRATEGIES if (s.stage, s.offload) == (stage, offload)]
    if not matching:
        raise LaunchError(f"memory of ZeRO-{stage} cannot be estimated; set train.micro_batch_tokens to a number")
    return cost_formulas.micro_batch_tokens(shape, matching[0], recipe, gpus=accelerator.num_processes, free=free)


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
        options: dict[str, object] = {"use_reentrant": False}
        if recipe.gradient_checkpointing == "selective":
            options["context_fn"] = selective_checkpointing.contexts
        model.activation_checkpointing_enable(options)
