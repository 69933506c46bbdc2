"""Supervised fine-tuning on responses (LIMA §3). `__all__` is the public API; it needs torch."""

from typing import TYPE_CHECKING

from lima.lazy_names import lazy_names

if TYPE_CHECKING:
    from lima.training.loss import LossModel, fuse_output_head, fused_linear_cross_entropy
    from lima.training.packing import Batch, pack
    from lima.training.protocols import CausalLM, ChatTokenizer
    from lima.training.residual_dropout import add_residual_dropout
    from lima.training.tokenization import Encoded, add_eot, encode
    from lima.training.trainer import (
        Progress,
        TrainingError,
        TrainingInterrupted,
        evaluate,
        fit,
        learning_rate,
        train_step,
    )

__all__ = [
    "Batch",
    "CausalLM",
    "ChatTokenizer",
    "Encoded",
    "LossModel",
    "Progress",
    "TrainingError",
    "TrainingInterrupted",
    "add_eot",
    "add_residual_dropout",
    "encode",
    "evaluate",
    "fit",
    "fuse_output_head",
    "fused_linear_cross_entropy",
    "learning_rate",
    "pack",
    "train_step",
]
_NAMES = {
    "loss": (
        "LossModel",
        "fuse_output_head",
        "fused_linear_cross_entropy",
    ),
    "packing": (
        "Batch",
        "pack",
    ),
    "protocols": (
        "CausalLM",
        "ChatTokenizer",
    ),
    "residual_dropout": ("add_residual_dropout",),
    "tokenization": (
        "Encoded",
        "add_eot",
        "encode",
    ),
    "trainer": (
        "Progress",
        "TrainingError",
        "TrainingInterrupted",
        "evaluate",
        "fit",
        "learning_rate",
        "train_step",
    ),
}
__getattr__ = lazy_names(__name__, _NAMES, extra="train")
