"""The processes that train together, and the model they start from."""

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer

from lima.errors import LimaError
from lima.params import Train
from lima.training import checkpoint, dropout, encode


class LaunchError(LimaError):
    """Processes that do not know of each other; says how many were launched and what each believes."""


def accelerator(recipe: Train) -> Accelerator:
    """Accelerate's view of the processes, after making sure that it is the launcher's."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    found = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    if found.num_processes != launched:
        raise LaunchError(
            f"{launched} processes were launched, but each believes to be one of {found.num_processes}; start training "
            "with `accelerate launch --config_file infra/accelerate/zero3.yaml` (train.launch in params.yaml)"
        )
    plugin = found.state.deepspeed_plugin
    if plugin:  # it bounds the gradient itself, and asks for a micro-batch's rows: one, packed
        plugin.deepspeed_config |= {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": recipe.max_grad_norm}
    return found


def starting_point(base: Path, recipe: Train) -> tuple[Any, Any, int]:
    """The base model in fp32 with residual dropout, its tokenizer with EOT and the chat template, and EOT's id."""
    checkpoint.check(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    eot_id = encode.add_eot(model, tokenizer, recipe.eot_token, start=recipe.eot_start)
    model.config.eos_token_id = eot_id
    if recipe.residual_dropout:
        dropout.add_residual_dropout(model, recipe.residual_dropout)
    return model, tokenizer, eot_id
