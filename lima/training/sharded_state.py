"""Whole fp32 weights and Adam moments of a model that DeepSpeed shards (ZeRO-1 to 3), and the way back.

The saved tensors do not depend on the number of processes, so that training continues on another number of GPUs or
without DeepSpeed. DeepSpeed's own checkpoints are pickles and have a file per process.
"""

from typing import Any

import torch


def is_sharded(weight: torch.Tensor) -> bool:
    """Whether DeepSpeed keeps the fp32 weight and its moments, or a part of them, apart from `weight`."""
    return hasattr(weight, "ds_id") or hasattr(weight, "_hp_mapping")


def gather(weight: torch.Tensor, moment: str | None = None) -> torch.Tensor:
    """The fp32 weight or, with `moment`, one of Adam's moments; every process has to call it.

    Args:
        moment: "exp_avg" or "exp_avg_sq".
    """
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    whole: torch.Tensor = safe_get_full_optimizer_state(weight, moment) if moment else safe_get_full_fp32_param(weight)
    return whole.view(shape_of(weight))


def shape_of(weight: torch.Tensor) -> torch.Size:
    """Shape of the whole weight; ZeRO-3 leaves an empty tensor in its place."""
    return getattr(weight, "ds_shape", weight.shape)


def initialize(zero: Any, steps: int) -> None:
    """Create Adam's states with moments of zero, which DeepSpeed creates in the first step only.

    Args:
        zero: DeepSpeed's ZeRO optimizer, which has no types.
        steps: Optimizer steps before; Adam corrects its bias by them.
    """
    stage3 = hasattr(zero, "fp32_partitioned_groups_flat")
    for flat in zero.fp32_partitioned_groups_flat if stage3 else zero.single_partition_of_fp32_groups:
        zero.optimizer.state[flat] = {
            "step": torch.tensor(float(steps), device=flat.device),
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
        }
    if not stage3:
        zero._lazy_init_hp_params_optimizer_state()  # links each weight with its part of the states


def scatter(weight: torch.Tensor, value: torch.Tensor, moment: str | None = None) -> None:
    """Set the process's part of the fp32 weight (and the weight that the model computes with) or of a moment.

    Every process has to call it, after `initialize`.
    """
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    if hasattr(weight, "ds_id"):
        _scatter_stage3(weight, value, moment)
    elif moment:
        safe_set_full_optimizer_state(weight, value, moment)
    else:
        safe_set_full_fp32_param(weight, value)
        weight.copy_(value)


def _scatter_stage3(weight: Any, value: torch.Tensor, moment: str | None) -> None:
    """ZeRO-3 splits a flattened weight over the processes; the last part is padded."""
    import deepspeed
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    size = weight.ds_tensor.numel()
    first = torch.distributed.get_rank() * size
    part = torch.zeros(size, dtype=torch.float32, device=value.device)
    known = value.flatten()[first : first + size]
    part[: known.numel()] = known
    if moment:
        safe_set_local_optimizer_state(weight, part, moment)
    else:
        safe_set_local_fp32_param(weight, part)
        with deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
            weight.copy_(value)
