"""Training throughput: tokens per second, model FLOPs utilization (MFU) and peak memory."""

import resource
import sys
import time
from dataclasses import dataclass
from typing import Self, TypedDict

import torch
from accelerate import Accelerator

from lima.records import StepMetrics
from lima.training.cost_formulas import PEAKS, flops
from lima.training.protocols import CausalLM

SIDE, TRIES = 512, 5  # size and number of the matrix products that measure a CPU's speed


def parameters(model: CausalLM) -> tuple[int, int]:
    """Number of parameters without embedding and head, and number of parameters of the head."""
    embeddings = {id(e.weight): e.weight.numel() for e in (model.get_input_embeddings(), model.get_output_embeddings())}
    return int(model.num_parameters()) - sum(embeddings.values()), model.get_output_embeddings().weight.numel()


def peak(device: torch.device, *, bf16: bool) -> float | None:
    """Peak FLOP/s of one process: of a GPU from PEAKS (None if missing), of a CPU as measured."""
    if device.type == "cuda":
        return known_peak(torch.cuda.get_device_name(device))
    return matmul_flops(torch.bfloat16 if bf16 else torch.float32)


def known_peak(device: str) -> float | None:
    """Peak of the longest name in PEAKS whose words all occur in the device's name."""
    words = set(device.replace("-", " ").split())
    return max(((len(name), speed) for name, speed in PEAKS.items() if set(name.split()) <= words), default=(0, None))[
        1
    ]


def matmul_flops(dtype: torch.dtype) -> float:
    """FLOP/s of square matrix products in this process, the best of TRIES."""
    matrix = torch.ones(SIDE, SIDE, dtype=dtype)
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return float(2 * SIDE**3 / min(seconds))


def peak_memory(device: torch.device) -> int:
    """Peak memory of this process in bytes: GPU memory, or resident memory without a GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Speed(TypedDict):
    """Speed of a step."""

    tokens_per_second: float
    mfu: float | None  # None if the device's peak is unknown
    peak_memory: float  # bytes, of this process


@dataclass(frozen=True)
class Throughput:
    """Computes tokens/s, MFU and peak memory from a step's metrics."""

    body: int  # parameters without embedding and head
    head: int  # parameters of the head
    device: torch.device
    ranks: int
    peak: float | None  # FLOP/s of one process

    @classmethod
    def for_model(cls, model: CausalLM, accelerator: Accelerator, *, bf16: bool) -> Self:
        device = accelerator.device
        return cls(*parameters(model), device, accelerator.num_processes, peak(device, bf16=bf16))

    def of_step(self, step: StepMetrics) -> Speed:
        step_flops = flops(step.tokens, step.supervised_tokens, body=self.body, head=self.head)
        return {
            "tokens_per_second": step.tokens / step.seconds,
            "mfu": step_flops / step.seconds / (self.ranks * self.peak) if self.peak else None,
            "peak_memory": float(peak_memory(self.device)),
        }

    def progress_fields(self, speed: Speed) -> dict[str, str]:
        """MFU and memory, formatted for the progress bar."""
        mfu, memory = speed["mfu"], speed["peak_memory"]
        return {"mfu": "?" if mfu is None else f"{mfu:.0%}", "memory": f"{memory / 1e9:.1f} GB"}
