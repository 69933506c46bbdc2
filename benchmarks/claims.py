"""What a benchmark yields: claims, each measured beside a peer, on this machine, now."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from statistics import median

from pydantic import BaseModel, ConfigDict

PACKAGES = ("torch", "transformers", "lxml", "numpy", "dvc", "prefect")


class Claim(BaseModel):
    """One line of benchmarks/results/NAME.jsonl."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    ours: float
    peer: float
    unit: str
    ratio: float  # ours / peer
    target: str  # "≥ 5", "≤ 1.2": what the ratio should be
    holds: bool
    machine: str
    versions: dict[str, str]


def claim(words: str, *, ours: float, peer: float, unit: str, target: str) -> Claim:
    sign, bound = target.split()
    ratio = ours / peer
    return Claim(
        claim=words,
        ours=round(ours, 4),
        peer=round(peer, 4),
        unit=unit,
        ratio=round(ratio, 3),
        target=target,
        holds=ratio >= float(bound) if sign == "≥" else ratio <= float(bound),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
    )


def in_turn(ours: Callable[[], object], peer: Callable[[], object], *, pairs: int) -> tuple[float, float]:
    """Median seconds of each, run in turn A B A B … so that a machine whose speed drifts favours neither."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        for side, work in zip(times, (ours, peer), strict=True):
            start = time.perf_counter()
            work()
            side.append(time.perf_counter() - start)
    return median(times[0]), median(times[1])
