"""Counts that do not depend on the device: attention keys of an epoch, and operations and bytes of a layer.

They run on a CPU in seconds, since nothing is computed: tensors have shapes only (PyTorch's fake tensors).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.device.records import Clock, Record, Sizes, examples, guarded
from lima.config.sections import Train
from lima.training import attention, fused_layers, launch
from lima.training.loss import LossModel
from lima.training.packing import pack, plan
from lima.training.tokenization import Encoded
from lima.training.varlen_attention import Kernel, PackedRow, cumulative

WIDTH = 8  # of the only head, for counting keys
CPU = torch.device("cpu")


# Attention keys


class _Calls(TorchFunctionMode):
    """Records shapes and strides of attention's arguments, and computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[object] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is scaled_dot_product_attention:
            self.keys.append(key_of(*args[:3]))
            return args[0]
        return function(*args, **(kwargs or {}))


def key_of(*tensors: torch.Tensor) -> tuple[object, ...]:
    """Shape and strides of the arguments, by which cuDNN looks up its plans."""
    return tuple((tuple(tensor.shape), tensor.stride()) for tensor in tensors)


def attention_keys(lengths: list[int], *, per_row: bool) -> list[object]:
    """The keys of all attention calls of a layer for a packed row.

    Args:
        per_row: One call of a variable-length kernel; else one call per example.
    """
    calls = _Calls()

    def attend(*tensors: torch.Tensor, **_: object) -> torch.Tensor:
        calls.keys.append(key_of(*tensors[:4]))
        return tensors[0]

    row = PackedRow(cumulative(lengths), max(lengths), Kernel("recorded", attend)) if per_row else None
    # as a projection's output after view and transpose
    query, key, value = (torch.zeros(1, sum(lengths), 1, WIDTH).bfloat16().transpose(1, 2) for _ in range(3))
    with calls:
        attention.packed(torch.nn.Identity(), query, key, value, None, lengths=lengths, packed_row=row)
    return calls.keys


def _epoch_keys(sizes: Sizes, micro_tokens: int, *, per_row: bool) -> Record:
    """Distinct keys of the first epoch, and the share of the second epoch's calls that have a new one."""
    rows = examples(sizes.epoch, vocabulary=300, longest=sizes.max_tokens, seed=4)
    lengths = [len(ids) for ids, _ in rows]
    epochs: list[list[object]] = []
    for epoch in (1, 2):
        planned = plan(lengths, batch_size=sizes.examples, micro_tokens=micro_tokens, ranks=1, seed=17, epoch=epoch)
        parts = [[lengths[index] for index in part] for step in planned for part in step]
        epochs.append([key for part in parts for key in attention_keys(part, per_row=per_row)])
    first, second = epochs
    new = sum(key not in set(first) for key in set(second)) / len(set(second))
    return {
        "value": len(set(first)),
        "unit": "distinct keys",
        "calls": len(first),
        "new": new,
        "text": f"{len(first):,} calls of a layer in an epoch of {len(lengths):,} examples; {new:.0%} of the keys of "
        "the next epoch are new",
    }


# Operations and bytes of a layer


class Dispatched(TorchDispatchMode):
    """Counts operations that write memory, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._counting = True

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        views = any(part.alias_info and not part.alias_info.is_write for part in function._schema.returns)
        if self._counting and not views and function.namespace == "aten" and function not in WITHOUT_KERNEL:
            self.add(str(function), (args, kwargs or {}), result)
        return result

    def add(self, name: str, read: Any, written: Any) -> None:
        """Count one operation with the tensors that it reads and writes."""
        self.operations[name] += 1
        self.bytes[name] += sum(_bytes(part) for part in tree_leaves(read)) + sum(
            _bytes(part) for part in tree_leaves(written)
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        before, self._counting = self._counting, False
        try:
            yield
        finally:
            self._counting = before


WITHOUT_KERNEL = {  # operations that only allocate or return a view
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_like.default,
    torch.ops.aten._unsafe_view.default,
}


def _bytes(part: object) -> int:
    return part.numel() * part.element_size() if isinstance(part, torch.Tensor) else 0


def fused(counts: Dispatched, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one operation, and one in the backward pass, as a fused kernel is."""

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: torch.Tensor) -> Any:
            with counts.paused():
                output = function(*inputs)
            counts.add(name, inputs, output)
            ctx.save_for_backward(*inputs)
            return output

        @staticmethod
        def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
            saved = ctx.saved_tensors  # once only: selective checkpointing recomputes them
            with counts.paused(), torch.enable_grad():
                leaves = [tensor.detach().requires_grad_() for tensor in saved]
                gradients = torch.autograd.grad(function(*leaves), leaves, upstream)
            counts.add(f"{name}, backward", (saved, upstream), gradients)
            return gradients

    return Fused.apply  # type: ignore[no-any-return]


def _kernels(counts: Dispatched) -> fused_layers.Kernels:
    plain = fused_layers.plain()

    def norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> Any:
        return fused(counts, "fused RMSNorm", lambda h, w: plain.rms_norm(h, w, epsilon))(hidden, weight)

    return fused_layers.Kernels(
        "counted",
        norm,
        fused(counts, "fused SwiGLU", plain.swiglu),
        fused(counts, "fused rotary", plain.rotary),
        _dropout_add(counts),
    )


def _dropout_add(counts: Dispatched) -> Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]:
    """Residual dropout and addition as one operation, which also writes its mask, and one in the backward pass."""

    class DropoutAdd(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, residual: torch.Tensor, branch: torch.Tensor, rate: float) -> torch.Tensor:
            with counts.paused():
                mask = torch.rand_like(branch, dtype=torch.float32) >= rate
                output = residual + branch * mask / (1 - rate)
            counts.add("fused dropout and addition", (residual, branch), (output, mask))
            ctx.save_for_backward(mask)
            ctx.rate, ctx.dtypes = rate, (residual.dtype, branch.dtype)
            return output

        @staticmethod
        def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            (mask,) = ctx.saved_tensors
            residual_dtype, branch_dtype = ctx.dtypes
            with counts.paused():
                gradient = (upstream[0] * mask / (1 - ctx.rate)).to(branch_dtype)
            counts.add("fused dropout and addition, backward", (upstream, mask), gradient)
            return upstream[0].to(residual_dtype), gradient, None

    def added(residual: torch.Tensor, branch: torch.Tensor, rate: float) -> torch.Tensor:
        output: torch.Tensor = DropoutAdd.apply(residual, branch, rate)  # type: ignore[no-untyped-call]
        return output

    return added


def _row_kernel(counts: Dispatched) -> Kernel:
    """A kernel of the right shapes; it counts as one operation that reads query, key and value."""

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        def shape_only(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            groups = q.shape[1] // k.shape[1]
            return q + k.repeat_interleave(groups, dim=1) + v.repeat_interleave(groups, dim=1)

        result: torch.Tensor = fused(counts, "variable-length attention", shape_only)(query, key, value)
        return result

    return Kernel("counted", attend)


def layer_counts(
    settings: dict[str, int], lengths: list[int], train: Train, *, per_row: bool
) -> tuple[Counter[str], Counter[str]]:
    """Operations of a layer, and their bytes, in the forward and backward pass of a micro-batch.

    The difference between two layers and one. It is the second micro-batch of a step, which adds to the gradients.
    """
    counted = [_model_counts(settings | {"num_hidden_layers": n}, lengths, train, per_row) for n in (2, 1)]
    (operations, size), (fewer, smaller) = counted
    operations.subtract(fewer)
    size.subtract(smaller)
    return +operations, +size


def _model_counts(
    settings: dict[str, int], lengths: list[int], train: Train, per_row: bool
) -> tuple[Counter[str], Counter[str]]:
    counts = Dispatched()
    config = LlamaConfig(**settings, tie_word_embeddings=False)
    undo: Callable[[], None] | None = None
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    try:
        launch.configure_for_training(model, train)
        if train.fused_layers:
            undo = fused_layers.fuse(model, _kernels(counts), device=CPU).remove
        batch = pack([Encoded(str(n), (5,) * length, (5,) * length, 0) for n, length in enumerate(lengths)])
        with FakeTensorMode(allow_non_fake_inputs=True):
            loss_model = LossModel(model, _row_kernel(counts) if per_row else None).train()
            for micro_batch in (1, 2):
                if micro_batch == 2:
                    counts.operations.clear()
                    counts.bytes.clear()
                with counts:
                    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=train.precision == "bf16"):
                        loss = loss_model(batch)
                    loss.backward()
    finally:
        if undo:
            undo()
    return counts.operations, counts.bytes


def _layer(sizes: Sizes, train: Train, *, per_row: bool) -> Record:
    """Operations and kB per token of a layer of the 1.1B model, for a micro-batch of a step."""
    rows = examples(sizes.examples, vocabulary=300, longest=sizes.max_tokens, seed=4)
    lengths = [len(ids) for ids, _ in rows]
    (parts,) = plan(lengths, batch_size=sizes.examples, micro_tokens=train.micro_tokens, ranks=1, seed=17, epoch=1)
    row = [lengths[index] for index in parts[0]]
    settings = sizes.models["1.1B"] | {"vocab_size": 300}  # the head is not counted
    operations, size = layer_counts(settings, row, train, per_row=per_row)
    per_token = sum(size.values()) / sum(row) / 1000
    weights = sum(size[name] for name in ("aten.add_.Tensor",)) / sum(row) / 1000
    return {
        "value": sum(operations.values()),
        "unit": "operations",
        "kb": per_token,
        "operations": dict(operations),
        "text": f"{per_token:,.0f} kB per token, {weights:,.0f} of them for adding gradients; {len(row)} examples, "
        f"{sum(row):,} tokens",
    }


def counts(
    sizes: Sizes, recipe: Callable[..., Train], all_changes: dict[str, object], clock: Clock
) -> Iterator[Record]:
    """Distinct attention keys of an epoch, and operations and bytes of a layer, before and after each change.

    Args:
        recipe: Returns a recipe for sizes and changes.
        all_changes: The settings of all changes.
    """
    parts: dict[str, Callable[[], Record]] = {}
    for micro in sizes.micro_batches[1:3]:
        for per_row in (False, True):
            name = f"attention keys, one call per {'row' if per_row else 'example'}, {micro:,}"
            parts[name] = partial(_epoch_keys, sizes, micro, per_row=per_row)
    micro = sizes.micro_batches[1]
    steps: tuple[tuple[str, dict[str, object], bool], ...] = (
        ("one call per example", {}, False),
        ("+ one call per row", {}, True),
        ("+ fused layers", {"fused_layers": True}, True),
        ("+ bf16 stream (all)", all_changes, True),
        ("all, residual dropout 0.2", all_changes | {"residual_dropout": 0.2}, True),
        ("all, selective checkpointing", all_changes | {"gradient_checkpointing": "selective"}, True),
        ("all, gradient checkpointing", all_changes | {"gradient_checkpointing": True}, True),
    )
    for name, changes, per_row in steps:
        train = recipe(sizes, micro_batch_tokens=micro, **changes)
        parts[f"operations of a layer, {name}"] = partial(_layer, sizes, train, per_row=per_row)
    yield from guarded("counts", clock, parts)
