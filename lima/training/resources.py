"""What a run will take, before it starts: FLOPs, memory a GPU, disk. Pure arithmetic, formulas in the docstrings.

Ψ is the number of parameters, N that of all GPUs. ZeRO's shares: Rajbhandari et al. 2020, §3 and §5. Activations:
counted from what autograd keeps of transformers' Llama layer, in the manner of Korthikanti et al. 2022, §4.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lima.config.sections import Train

FP32, BF16 = 4, 2  # bytes
SLICE = 96 * 2**20  # bytes of fp32 logits at a time: smaller slices multiply slower, larger ones only take memory
LIVE = 1e9  # parameters that DeepSpeed's ZeRO-3 holds whole at most, by its default stage3_max_live_parameters
# Dense bf16 tensor-core peaks in FLOP/s, without sparsity, from NVIDIA's data sheets.
PEAKS = {
    "V100": 125e12,  # fp16: it has no bf16
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
    """A decoder like Llama."""

    layers: int
    hidden: int  # width of the residual stream
    queries: int  # width of all query heads
    keys: int  # width of all key heads
    mlp: int
    vocabulary: int
    tied: bool  # embedding and head are one

    @classmethod
    def of(cls, config: Mapping[str, object]) -> "Shape":
        """From a config.json; KeyError names the key that a model not like Llama lacks."""
        number = {key: value for key, value in config.items() if isinstance(value, int)}
        heads, hidden = number["num_attention_heads"], number["hidden_size"]
        width = number.get("head_dim", hidden // heads)
        return cls(
            layers=number["num_hidden_layers"],
            hidden=hidden,
            queries=heads * width,
            keys=number.get("num_key_value_heads", heads) * width,
            mlp=number["intermediate_size"],
            vocabulary=number["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    @property
    def layer(self) -> int:
        """Parameters of one layer: four matrices of attention, three of the MLP, two norms."""
        return 2 * self.hidden * (self.queries + self.keys) + 3 * self.hidden * self.mlp + 2 * self.hidden

    @property
    def body(self) -> int:
        """Parameters without embedding and head."""
        return self.layers * self.layer + self.hidden

    @property
    def head(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        return self.body + self.head * (1 if self.tied else 2)


@dataclass(frozen=True)
class Strategy:
    """How the processes share the model; `config` is the launch configuration that does it."""

    name: str
    stage: int  # of ZeRO; 0: every GPU has everything
    offload: bool  # fp32 weights, gradients and Adam's states in the machine's memory
    config: str


STRATEGIES = (
    Strategy("a copy a GPU", 0, False, "infra/accelerate/ddp.yaml"),
    Strategy("ZeRO-2", 2, False, "infra/accelerate/zero2.yaml"),
    Strategy("ZeRO-2, optimizer in RAM", 2, True, "infra/accelerate/zero2-offload.yaml"),
    Strategy("ZeRO-3", 3, False, "infra/accelerate/zero3.yaml"),
    Strategy("ZeRO-3, optimizer in RAM", 3, True, "infra/accelerate/zero3-offload.yaml"),
)


def flops(tokens: int, supervised: int, *, body: int, head: int) -> float:
    """6 · (body · tokens + head · supervised): forward and backward, the head only where a token is supervised.

    The usual count (Kaplan et al. 2020, §2.1) less attention's own products, so that MFU is a lower bound. Activations
    that are computed twice do not count: they are no progress.
    """
    return 6.0 * (body * tokens + head * supervised)


def states(shape: Shape, strategy: Strategy, *, gpus: int, bf16: bool) -> tuple[float, float]:
    """Bytes a GPU, and bytes of the machine's memory a GPU, of weights, gradients and Adam's states.

    A copy a GPU: (4 + 4 + 8)·Ψ, and 2·Ψ for the weights in bf16. ZeRO: the weights that compute, c bytes each (2 in
    bf16, 4 in fp32), whole (ZeRO-2) or c·Ψ/N and at most LIVE of them whole (ZeRO-3); gradients 4·Ψ/N; fp32 weights
    and Adam's moments 12·Ψ/N. Offload moves the last two to the machine.
    """
    psi, compute = shape.parameters, BF16 if bf16 else FP32
    if strategy.stage == 0:
        return psi * (4 * FP32 + (BF16 if bf16 else 0)), 0.0
    shared = psi * 4 * FP32 / gpus
    weights = compute * (psi if strategy.stage == 2 else psi / gpus + min(psi, LIVE))
    return (weights, shared) if strategy.offload else (weights + shared, 0.0)


def activations(shape: Shape, tokens: int, *, bf16: bool, twice: bool) -> float:
    """Bytes that a micro-batch of so many tokens keeps for the backward pass.

    A layer keeps 8h + 3q + 2k + 4m numbers a token: two norms (input, normalised, output: 6h), dropout's masks (2h),
    query, attention's output and its joined copy (3q), key and value (2k), the MLP's gate, its SiLU, up and their
    product (4m); in bf16 the norms' inputs stay fp32, 4h bytes more. Computed `twice`, each layer keeps its input
    only, and one layer at a time all.
    """
    h, size = shape.hidden, BF16 if bf16 else FP32
    numbers = 8 * h + 3 * shape.queries + 2 * shape.keys + 4 * shape.mlp
    layer = size * numbers + (4 * h if bf16 else 0)
    kept = layer + shape.layers * size * h if twice else shape.layers * layer
    return float(tokens * kept)


def head(shape: Shape) -> float:
    """Bytes at the output head: its fp32 gradient beside the accumulated one, and at most three slices of logits."""
    return float(FP32 * shape.head + 3 * SLICE)


def memory(shape: Shape, strategy: Strategy, recipe: Train, *, gpus: int) -> tuple[float, float]:
    """Bytes a GPU, and bytes of the machine's memory a GPU, at the peak of a step; the libraries' own come on top."""
    bf16 = recipe.precision == "bf16"
    gpu, machine = states(shape, strategy, gpus=gpus, bf16=bf16)
    tokens = max(recipe.micro_batch_tokens, recipe.max_tokens)
    kept = activations(shape, tokens, bf16=bf16, twice=recipe.gradient_checkpointing)
    return gpu + kept + head(shape), machine


def disk(parameters: int, recipe: Train) -> float:
    """Bytes: a bf16 checkpoint a kept epoch, and two states of 12 bytes a parameter, the new beside the old."""
    return checkpoints(parameters, recipe) + float(parameters * 2 * 3 * FP32)


def checkpoints(parameters: int, recipe: Train) -> float:
    """Bytes of a bf16 checkpoint a kept epoch."""
    first, last = recipe.keep_epochs
    return float(parameters * BF16 * (last - first + 1))
