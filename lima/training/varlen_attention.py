"""Variable-length attention on CUDA: one kernel call for all examples of a packed row.

One call per example starts a kernel per example and layer, and its shapes are new in nearly every row. The kernels
(FlashAttention) accept the boundaries of the examples instead. They need bf16 or fp16.

A kernel is used only if its outputs and gradients for random numbers equal those of one call per example on the device
of the training: its interface differs between versions, and each GPU has kernels of its own. In PyTorch's deterministic
mode, its gradients must also be the same to the bit in several passes.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import torch

from lima.training.precision import compute_dtype

DTYPES = (torch.bfloat16, torch.float16)
MAX_WIDTH, WIDTH_STEP = 256, 8  # head widths of FlashAttention
TOLERANCE = 0.02  # relative, of outputs and gradients; bf16 numbers have a relative spacing of up to 2^-7 = 0.008
VERIFIED_LENGTHS = (5, 1, 130, 64)  # tokens of the examples in the comparison
VERIFIED_CASES = ((None, None), (0.1, 7))  # scale and window of the comparison
# errors of a kernel that is not for this GPU, these heads or this version of PyTorch
UNUSABLE = (RuntimeError, TypeError, ValueError, AssertionError, ImportError, AttributeError, OSError)
REPEATED_LENGTHS, REPEATS = (1500, 548), 8  # tokens of the examples, and passes, of the test for determinism


class Attend(Protocol):
    """Causal attention within each example of a row."""

    def __call__(
        self,
        query: torch.Tensor,  # (tokens, heads, width)
        key: torch.Tensor,  # (tokens, key heads, width)
        value: torch.Tensor,  # as key
        cumulative: torch.Tensor,  # int32, (examples + 1,): first token of each example, and the number of tokens
        longest: int,  # tokens of the longest example
        *,
        scale: float | None,  # of the scores; None: width^-½
        window: int | None,  # tokens that a token attends to, including itself; None: all
    ) -> torch.Tensor: ...  # (tokens, heads, width)


@dataclass(frozen=True)
class Kernel:
    name: str
    attend: Attend


@dataclass(frozen=True)
class PackedRow:
    """Boundaries of a row's examples on the device, and the kernel that attends within them."""

    cumulative: torch.Tensor  # int32, (examples + 1,)
    longest: int
    kernel: Kernel

    def attention(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scale: float | None, window: int | None
    ) -> torch.Tensor | None:
        """Attention of one row, or None if the kernel does not support the tensors.

        Args:
            query: (1, heads, tokens, width); key and value may have fewer heads.

        Returns:
            (1, tokens, heads, width).
        """
        dtype = compute_dtype(query)
        width = query.shape[-1]
        if (
            dtype not in DTYPES
            or len(query) != 1
            or width > MAX_WIDTH
            or width % WIDTH_STEP
            or value.shape[-1] != width
        ):
            return None
        q, k, v = (tensor.squeeze(0).transpose(0, 1).to(dtype) for tensor in (query, key, value))
        bounded = None if window is None or window >= self.longest else window
        return self.kernel.attend(q, k, v, self.cumulative, self.longest, scale=scale, window=bounded)[None]


def cumulative(lengths: Sequence[int]) -> torch.Tensor:
    """First token of each example in a packed row, and the number of tokens; int32, (examples + 1,)."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def installed() -> Iterator[Kernel]:
    """The kernels of the installed packages: FlashAttention 3, PyTorch's own, FlashAttention 2."""
    for name, package, attend_of in (
        ("FlashAttention 3", "flash_attn_interface", _flash_attention),
        (f"varlen_attn of PyTorch {torch.__version__}", "torch.nn.attention.varlen", torch_varlen),
        ("FlashAttention 2", "flash_attn", _flash_attention),
    ):
        if find_spec(package):
            yield Kernel(name, _imported(package, attend_of))


def _imported(package: str, attend_of: Callable[[Any], Attend]) -> Attend:
    """The kernel of a package, imported at the first call: one built for another version of PyTorch raises an error."""

    @cache
    def imported() -> Attend:
        return attend_of(import_module(package))

    def attend(*arguments: Any, **options: Any) -> torch.Tensor:
        return imported()(*arguments, **options)

    return attend


def torch_varlen(package: Any) -> Attend:
    """varlen_attn of torch.nn.attention.varlen, whose later versions require enable_gqa for grouped heads."""
    grouped_option = "enable_gqa" in inspect.signature(package.varlen_attn).parameters

    def options(scale: float | None, window: int | None, grouped: bool) -> dict[str, object]:
        chosen: dict[str, object] = {"scale": scale, "window_size": (-1 if window is None else window - 1, 0)}
        return chosen | {"enable_gqa": True} if grouped_option and grouped else chosen

    return _attend(package.varlen_attn, options)


def _flash_attention(package: Any) -> Attend:
    """flash_attn_varlen_func of flash-attn 2 and 3, which do not read PyTorch's deterministic mode."""

    def options(scale: float | None, window: int | None, grouped: bool) -> dict[str, object]:
        bounds = (-1, -1) if window is None else (window - 1, 0)
        chosen: dict[str, object] = {"softmax_scale": scale, "causal": True, "window_size": bounds}
        return chosen | {"deterministic": True} if torch.are_deterministic_algorithms_enabled() else chosen

    return _attend(package.flash_attn_varlen_func, options)


def _attend(
    function: Callable[..., Any], options: Callable[[float | None, int | None, bool], dict[str, object]]
) -> Attend:
    """Call a kernel of a package; `options` gives its options for scale, window and whether heads are grouped."""

    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cumulative: torch.Tensor,
        longest: int,
        *,
        scale: float | None,
        window: int | None,
    ) -> torch.Tensor:
        chosen = options(scale, window, query.shape[1] != key.shape[1])
        output = function(query, key, value, cumulative, cumulative, longest, longest, **chosen)
        result: torch.Tensor = output[0] if isinstance(output, tuple) else output  # flash-attn 3 may return more
        return result

    return attend


def select(
    kernels: Iterable[Kernel], reference: Callable[..., torch.Tensor], *, heads: tuple[int, int, int], device: str
) -> tuple[Kernel | None, list[str]]:
    """The first kernel that equals the reference, and the reasons against those before it.

    Args:
        reference: Attention of one example, as torch's scaled_dot_product_attention with a mask.
        heads: Query heads, key heads and width.
    """
    rejected = []
    for kernel in kernels:
        try:
            worst = max(
                difference(kernel, reference, heads=heads, scale=scale, window=window, device=device)
                for scale, window in VERIFIED_CASES
            )
        except UNUSABLE as error:
            text = str(error) or type(error).__name__
            rejected.append(f"{kernel.name}: {text.splitlines()[0][:200]}")
            continue
        if worst > TOLERANCE:
            rejected.append(f"{kernel.name}: differs from one call per example by {worst:.2g}")
        elif torch.are_deterministic_algorithms_enabled() and not repeatable(kernel, heads=heads, device=device):
            rejected.append(f"{kernel.name}: its gradients differ between passes, which train.deterministic excludes")
        else:
            return kernel, rejected
    return None, rejected


def repeatable(kernel: Kernel, *, heads: tuple[int, int, int], device: str) -> bool:
    """Whether the outputs and gradients of REPEATS passes over the same numbers are equal to the bit."""
    *inputs, upstream = _random_row(REPEATED_LENGTHS, heads, device)
    row = PackedRow(cumulative(REPEATED_LENGTHS).to(device), max(REPEATED_LENGTHS), kernel)
    first: list[torch.Tensor] = []
    for _ in range(REPEATS):
        results = _passed(row, inputs, upstream, scale=None, window=None)
        first = first or results
        if not all(torch.equal(a, b) for a, b in zip(first, results, strict=True)):
            return False
    return True


def _random_row(lengths: Sequence[int], heads: tuple[int, int, int], device: str) -> list[torch.Tensor]:
    """Query, key, value and upstream gradient of random numbers in bf16, each (1, heads, tokens, width)."""
    query_heads, key_heads, width = heads
    generator = torch.Generator().manual_seed(17)
    return [
        torch.randn(1, size, sum(lengths), width, generator=generator).to(device, torch.bfloat16)
        for size in (query_heads, key_heads, key_heads, query_heads)
    ]


def _passed(
    row: PackedRow, tensors: Sequence[torch.Tensor], upstream: torch.Tensor, *, scale: float | None, window: int | None
) -> list[torch.Tensor]:
    """The output of the kernel, (1, heads, tokens, width), and the gradients of query, key and value.

    Raises:
        ValueError: The kernel does not support the heads.
    """
    inputs = [tensor.clone().requires_grad_() for tensor in tensors]
    query, key, value = inputs
    output = row.attention(query, key, value, scale=scale, window=window)
    if output is None:
        raise ValueError(f"heads of width {query.shape[-1]} are not supported")
    output = output.transpose(1, 2)
    return [output, *torch.autograd.grad(output, inputs, upstream)]


def difference(
    kernel: Kernel,
    reference: Callable[..., torch.Tensor],
    *,
    heads: tuple[int, int, int],
    scale: float | None,
    window: int | None,
    device: str,
) -> float:
    """Largest relative difference ‖kernel − reference‖ / ‖reference‖ of the output and the three gradients."""
    *inputs, upstream = _random_row(VERIFIED_LENGTHS, heads, device)
    row = PackedRow(cumulative(VERIFIED_LENGTHS).to(device), max(VERIFIED_LENGTHS), kernel)
    results = _passed(row, inputs, upstream, scale=scale, window=window)
    exact_inputs = [tensor.float().requires_grad_() for tensor in inputs]
    exact = torch.cat(
        [
            reference(q, k, v, scale=scale, window=window)
            for q, k, v in zip(
                *(torch.split(tensor, list(VERIFIED_LENGTHS), 2) for tensor in exact_inputs), strict=True
            )
        ],
        dim=2,
    )
    expected = [exact, *torch.autograd.grad(exact, exact_inputs, upstream.float())]
    return max(
        float((got.detach().float() - want.detach()).norm() / want.detach().norm())
        for got, want in zip(results, expected, strict=True)
    )
