"""How fast training is, and how far from what the hardware can multiply (MFU)."""

import resource
import sys
import time
from dataclasses import dataclass
from typing import Any, Self

import torch
from accelerate import Accelerator

from lima.records import StepMetrics
from lima.training.resources import PEAKS, flops

SIDE, TRIES = 512, 5  # of the matrices that a CPU multiplies to show what it can, and how often


def parameters(model: Any) -> tuple[int, int]:
    """The parameters without embedding and head, and those of the head."""
    embeddings = {id(e.weight): e.weight.numel() for e in (model.get_input_embeddings(), model.get_output_embeddings())}
    return int(model.num_parameters()) - sum(embeddings.values()), model.get_output_embeddings().weight.numel()


def peak(device: torch.device, *, bf16: bool) -> float | None:
    """FLOP/s that one process could reach: of a GPU from PEAKS (None if it is not there), of a CPU as measured."""
    if device.type == "cuda":
        return known_peak(torch.cuda.get_device_name(device))
    return multiplied(torch.bfloat16 if bf16 else torch.float32)


def known_peak(device: str) -> float | None:
    """The speed in PEAKS under the longest name whose words are all in the device's."""
    words = set(device.replace("-", " ").split())
    return max(((len(name), speed) for name, speed in PEAKS.items() if set(name.split()) <= words), default=(0, None))[
        1
    ]


def multiplied(dtype: torch.dtype) -> float:
    """FLOP/s of this process on square matrices, the best of TRIES."""
    matrix = torch.ones(SIDE, SIDE, dtype=dtype)
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return float(2 * SIDE**3 / min(seconds))


def memory(device: torch.device) -> int:
    """Most bytes that this process held at once: of the GPU's memory, or of the machine's where there is no GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Throughput:
    """What turns a step's metrics into tokens/s, MFU and memory."""

    body: int  # parameters without embedding and head
    head: int
    device: torch.device
    ranks: int
    peak: float | None  # FLOP/s of one process

    @classmethod
    def of(cls, model: Any, accelerator: Accelerator, *, bf16: bool) -> Self:
        device = accelerator.device
        return cls(*parameters(model), device, accelerator.num_processes, peak(device, bf16=bf16))

    def of_step(self, step: StepMetrics) -> dict[str, float | None]:
        """tokens_per_second, mfu (None where the device's peak is not known) and peak_memory, bytes of this process."""
        done = flops(step.tokens, step.supervised_tokens, body=self.body, head=self.head)
        return {
            "tokens_per_second": step.tokens / step.seconds,
            "mfu": done / step.seconds / (self.ranks * self.peak) if self.peak else None,
            "peak_memory": float(memory(self.device)),
        }

    def words(self, speed: dict[str, float | None]) -> dict[str, str]:
        """MFU and memory as the progress bar shows them."""
        mfu, held = speed["mfu"], speed["peak_memory"]
        return {"mfu": "?" if mfu is None else f"{mfu:.0%}", "memory": f"{(held or 0) / 1e9:.1f} GB"}
