"""Deterministic algorithms (`train.deterministic`): runs on a GPU that are equal to the bit.

Many CUDA kernels add in the order in which their threads finish. In PyTorch's deterministic mode, operations use
kernels with a fixed order or raise an error: attention's backward pass, scattered additions, and functions that
torch.compile compiles, which are then not tuned by measured times. cuBLAS needs a workspace of a fixed size.

With several processes, NCCL selects the algorithm that sums gradients. The order of Ring is fixed by the topology of
the GPUs, so that it is equal in every run on the same nodes (NVIDIA's documentation of Megatron Core, "Deterministic
Training", which also names the other accepted values).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lima.errors import LimaError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")  # values with which cuBLAS is deterministic; the first is faster
REDUCTION = "NCCL_ALGO"
REDUCTIONS = ("Ring", "CollnetDirect", "CollnetChain", "^NVLS")  # values, or a list of them; the first is the default
UNSUPPORTED = "does not have a deterministic implementation"  # in the messages of PyTorch


class NotDeterministic(LimaError):
    """Raised with train.deterministic for an operation or an environment that is not deterministic."""


def configure(deterministic: bool) -> None:
    """Switch PyTorch's deterministic mode of this process on or off; call it before CUDA and NCCL are used.

    Raises:
        NotDeterministic: The environment sets another workspace of cuBLAS, or another algorithm of NCCL.
    """
    if deterministic and os.environ.setdefault(WORKSPACE, WORKSPACES[0]) not in WORKSPACES:
        raise NotDeterministic(
            f"train.deterministic: {WORKSPACE} is {os.environ[WORKSPACE]!r}; unset it or set it to {WORKSPACES[0]}"
        )
    if deterministic and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        algorithms = os.environ.setdefault(REDUCTION, REDUCTIONS[0])
        if not {name.strip().lower() for name in algorithms.split(",")} <= {name.lower() for name in REDUCTIONS}:
            raise NotDeterministic(
                f"train.deterministic: {REDUCTION} is {algorithms!r}, whose order of summation may differ between "
                f"runs; unset it or set it to {REDUCTIONS[0]}"
            )
    torch.use_deterministic_algorithms(deterministic)
    # filling new tensors finds uses of values that were never written; no operation of training has one
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not typed by PyTorch


@contextmanager
def report_unsupported() -> Iterator[None]:
    """Raise NotDeterministic for an operation of the block without a deterministic kernel."""
    try:
        yield
    except RuntimeError as error:
        if UNSUPPORTED not in str(error):
            raise
        operation = str(error).split(UNSUPPORTED)[0].strip()
        raise NotDeterministic(
            f"train.deterministic: {operation} has no deterministic implementation in PyTorch {torch.__version__}; "
            "set train.deterministic: false or use another base model"
        ) from error
