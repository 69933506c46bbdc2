"""Estimates of training cost: FLOPs, memory per GPU, disk. Pure arithmetic; the docstrings give the formulas.

Ψ is the number of parameters, N the number of GPUs. ZeRO partitioning: Rajbhandari et al. 2020, §3 and §5.
Activations: tensors that autograd saves in transformers' Llama layer, counted as in Korthikanti et al. 2022, §4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lima.config.sections import Train
from lima.training.logit_chunks import CHUNK_BYTES, FP32

BF16 = 2  # bytes
LIVE = 1e9  # parameters that ZeRO-3 gathers at most; DeepSpeed's default of stage3_max_live_parameters
# Choice of micro-batches: fragments of the allocator and temporary tensors need the rest of the memory.
MEMORY_SHARE, MICRO_STEP, MOST_MICRO = 0.85, 1024, 32_768  # share of the free memory; tokens
# Dense bf16 tensor-core peaks in FLOP/s, without sparsity, from NVIDIA's data sheets.
PEAKS = {
    "V100": 125e12,  # fp16; bf16 is not supported
    "A100": 312e12,
    "A10": 125e12,
    "L4": 121e12,
    "L40": 181e12,
    "L40S": 362e12,
    "H100": 989e12,
    "H100 PCIe": 756e12,
    "H200": 989e12,
    "B200": 2250e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165e12,
}


@dataclass(frozen=True)
class Shape:
    """Dimensions of a Llama-like decoder."""

    layers: int
    hidden: int  # width of the residual stream
    queries: int  # width of all query heads
    keys: int  # width of all key heads
    mlp: int
    vocabulary: int
    tied: bool  # embedding and head share their weights

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "Shape":
        """From a config.json.

        Raises:
            KeyError: The model is not Llama-like; names the missing key.
        """
        numbers = {key: value for key, value in config.items() if isinstance(value, int)}
        heads, hidden = numbers["num_attention_heads"], numbers["hidden_size"]
        width = numbers.get("head_dim", hidden // heads)
        return cls(
            layers=numbers["num_hidden_layers"],
            hidden=hidden,
            queries=heads * width,
            keys=numbers.get("num_key_value_heads", heads) * width,
            mlp=numbers["intermediate_size"],
            vocabulary=numbers["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    @property
    def layer(self) -> int:
        """Parameters of one layer: four attention matrices, three MLP matrices, two norms."""
        return 2 * self.hidden * (self.queries + self.keys) + 3 * self.hidden * self.mlp + 2 * self.hidden

    @property
    def body(self) -> int:
        """Parameters without embedding and head."""
        return self.layers * self.layer + self.hidden

    @property
    def head(self) -> int:
        """Parameters of the output head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        return self.body + self.head * (1 if self.tied else 2)


@dataclass(frozen=True)
class Strategy:
    """A way to distribute the model over processes."""

    name: str
    stage: int  # of ZeRO; 0: every GPU has a full copy
    offload: bool  # fp32 weights, gradients and Adam states in host memory
    config: str  # launch configuration


STRATEGIES = (
    Strategy("a copy per GPU", 0, False, "infra/accelerate/ddp.yaml"),
    Strategy("ZeRO-2", 2, False, "infra/accelerate/zero2.yaml"),
    Strategy("ZeRO-2, optimizer in RAM", 2, True, "infra/accelerate/zero2-offload.yaml"),
    Strategy("ZeRO-3", 3, False, "infra/accelerate/zero3.yaml"),
    Strategy("ZeRO-3, optimizer in RAM", 3, True, "infra/accelerate/zero3-offload.yaml"),
)


def flops(tokens: int, supervised: int, *, body: int, head: int) -> float:
    """FLOPs of forward and backward: 6 · (body · tokens + head · supervised).

    The head runs on supervised tokens only. As in Kaplan et al. 2020, §2.1, without the products of attention scores,
    so that MFU is a lower bound. Recomputation (gradient checkpointing) is not counted.
    """
    return 6.0 * (body * tokens + head * supervised)


def states(shape: Shape, strategy: Strategy, *, gpus: int, bf16: bool) -> tuple[float, float]:
    """Bytes of weights, gradients and Adam states: (per GPU, in host memory per GPU).

    A copy per GPU: (4 + 4 + 8)·Ψ, and 2·Ψ for the weights in bf16. ZeRO: weights for computation at c bytes each (2 in
    bf16, 4 in fp32), c·Ψ (ZeRO-2), or c·Ψ/N and at most c·LIVE gathered (ZeRO-3); gradients 4·Ψ/N; fp32 weights and
    Adam moments 12·Ψ/N. Offload moves the last two to host memory.
    """
    psi, compute = shape.parameters, BF16 if bf16 else FP32
    if strategy.stage == 0:
        return psi * (4 * FP32 + (BF16 if bf16 else 0)), 0.0
    shared = psi * 4 * FP32 / gpus
    weights = compute * (psi if strategy.stage == 2 else psi / gpus + min(psi, LIVE))
    return (weights, shared) if strategy.offload else (weights + shared, 0.0)


def activations(
    shape: Shape,
    tokens: int,
    *,
    bf16: bool,
    recompute: bool | Literal["selective"],
    bf16_residual: bool = False,
    fused: bool = False,
) -> float:
    """Bytes of activations saved for the backward pass of a micro-batch.

    A layer saves 8h + 3q + 2k + 4m numbers per token: two norms (input, normalised, output: 6h), dropout masks (2h),
    query, attention output and its contiguous copy (3q), key and value (2k), the MLP's gate, its SiLU, up and their
    product (4m). In bf16 the norms' inputs stay fp32, 4h bytes more, unless the residual stream is bf16. Fused layers
    do not save the normalised tensors (2h) and the SiLU (m).

    Args:
        tokens: Of the micro-batch.
        recompute: Gradient checkpointing: each layer saves its input only, and one layer at a time everything.
            "selective": each layer saves its input and the outputs of attention (q) and of the products (q + 2k for
            query, key and value, h for the attention's output, 2m for gate and up, h for down).
        bf16_residual: In bf16, the residual stream is bf16 too.
    """
    h, size = shape.hidden, BF16 if bf16 else FP32
    stream = FP32 if bf16 and not bf16_residual else size  # bytes of a number of the residual stream
    numbers = 8 * h + 3 * shape.queries + 2 * shape.keys + 4 * shape.mlp - (2 * h + shape.mlp if fused else 0)
    layer = size * numbers + 2 * h * (stream - size)
    kept = shape.layers * layer
    if recompute is True:
        kept = layer + shape.layers * stream * h
    elif recompute:
        products = size * (2 * shape.queries + 2 * shape.keys + 2 * h + 2 * shape.mlp)
        kept = layer + shape.layers * (stream * h + products)
    return float(tokens * kept)


def head(shape: Shape) -> float:
    """Bytes at the output head: an fp32 gradient before accumulation, and at most three chunks of logits."""
    return float(FP32 * shape.head + 3 * CHUNK_BYTES)


def memory(shape: Shape, strategy: Strategy, recipe: Train, *, gpus: int) -> tuple[float, float]:
    """Peak bytes of a step: (per GPU, in host memory per GPU), without the memory of the libraries.

    With micro_batch_tokens "auto", that of the smallest micro-batches.
    """
    bf16 = recipe.precision == "bf16"
    gpu, host = states(shape, strategy, gpus=gpus, bf16=bf16)
    micro = 0 if recipe.micro_batch_tokens == "auto" else recipe.micro_batch_tokens
    tokens = max(micro, recipe.max_tokens)
    kept = activations(
        shape,
        tokens,
        bf16=bf16,
        recompute=recipe.gradient_checkpointing,
        bf16_residual=recipe.residual_precision == "bf16",
        fused=recipe.fused_layers,
    )
    return gpu + kept + head(shape), host


def micro_batch_tokens(shape: Shape, strategy: Strategy, recipe: Train, *, gpus: int, free: float) -> int:
    """Tokens of the largest micro-batch that fits into MEMORY_SHARE of the free memory of a GPU.

    Args:
        free: Free bytes per GPU before the model is loaded.

    Returns:
        A multiple of MICRO_STEP, at most MOST_MICRO, or max_tokens if that is more: an example is not split.
    """
    with_one_step, with_two = (
        memory(shape, strategy, recipe.model_copy(update={"micro_batch_tokens": tokens, "max_tokens": 1}), gpus=gpus)[0]
        for tokens in (MICRO_STEP, 2 * MICRO_STEP)
    )
    step = with_two - with_one_step  # bytes of MICRO_STEP tokens; memory is linear in them
    steps = 1 + (MEMORY_SHARE * free - with_one_step) // step
    return int(max(recipe.max_tokens, min(MOST_MICRO, MICRO_STEP * steps)))


def disk(parameters: int, recipe: Train) -> float:
    """Bytes of bf16 checkpoints of the kept epochs, and of two training states (12 bytes per parameter)."""
    return checkpoints(parameters, recipe) + float(parameters * 2 * 3 * FP32)


def checkpoints(parameters: int, recipe: Train) -> float:
    """Bytes of the bf16 checkpoints of the kept epochs."""
    first, last = recipe.keep_epochs
    return float(parameters * BF16 * (last - first + 1))
