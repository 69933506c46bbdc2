"""Training states of SmolLM2-135M's size: seconds for which training waits, and bytes that each process writes.

The peers are this project without memory for a copy, where training waits until the files are written, and one process
instead of two. Tensors are random.
"""

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from torch.multiprocessing.spawn import spawn
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.claims import Claim, claim
from lima.training import allocator, host_memory, state_parts
from lima.training.trainer import Progress
from lima.training.training_state import TrainingStates

SMOLLM2 = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
}
STATES = 3  # of each kind


def measure() -> Iterator[Claim]:
    """Seconds that training waits for a state with and without the copy, and the same with two processes."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (_processes(Path(folder), count) for count in (1, 2))
    size = one[0]["bytes"]
    [alone] = one
    print(
        f"{size / 1e9:.2f} GB a state; waits with a copy {_list(alone['copied'])} s, written after "
        f"{_list(alone['written'])} s, waits without a copy {_list(alone['waiting'])} s; checked and loaded in "
        f"{alone['loaded']:.2f} s",
        file=sys.stderr,
    )
    for rank, process in enumerate(two):
        print(
            f"process {rank} of two: {process['bytes'] / 1e9:.3f} GB; waits with a copy {_list(process['copied'])} s, "
            f"state complete after {_list(process['written'])} s; checked and loaded in {process['loaded']:.2f} s",
            file=sys.stderr,
        )
    what = f"training waits for a state of {size / 1e9:.2f} GB, peer writing it while training waits"
    yield claim(what, ours=median(alone["copied"]), peer=median(alone["waiting"]), unit="s", target="≤ 0.5")
    what = f"bytes of a state of {size / 1e9:.2f} GB that a process writes, the larger of two, peer one process"
    yield claim(what, ours=max(each["bytes"] for each in two) / 1e9, peer=size / 1e9, unit="GB", target="≤ 0.55")
    what = "two processes wait for such a state, peer one process"
    waits = max(median(each["copied"]) for each in two)
    yield claim(what, ours=waits, peer=median(alone["copied"]), unit="s", target="≤ 1")


def _processes(folder: Path, count: int) -> list[Any]:
    """Measurements of each of `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = folder / f"{count}"
    results.mkdir()
    spawn(_process, (count, port, results), nprocs=count)
    return [json.loads((results / f"{rank}.json").read_text()) for rank in range(count)]


def _process(rank: int, count: int, port: int, results: Path) -> None:
    """Save states in turn with and without the copy, and load the last, as one of `count` processes."""
    if count > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    allocator.keep_freed_memory()  # as training on a CPU
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SMOLLM2), dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters())
    for weight in model.parameters():
        moments = {name: torch.randn_like(weight) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[weight] = {"step": torch.tensor(1.0)} | moments
    working = results / "work"
    working.mkdir(exist_ok=True)
    states = TrainingStates(working, accelerator, state_parts.connect(working, accelerator))
    waits: dict[str, list[float]] = {"copied": [], "waiting": [], "written": []}
    for _ in range(STATES):
        for kind, memory in (("copied", 10**15), ("waiting", 0)):
            accelerator.wait_for_everyone()
            start = time.perf_counter()
            with patch.object(host_memory, "available", lambda memory=memory: memory):
                states.save(model, optimizer, Progress())
            waits[kind].append(time.perf_counter() - start)
            states.finish()
            if kind == "copied":
                waits["written"].append(time.perf_counter() - start)
    newest = states.newest()
    assert newest is not None
    own = [
        name for stem in ("weight", "exp_avg", "exp_avg_sq") for name in newest.glob(f"{states.processes.stem(stem)}-*")
    ]
    size = sum(path.stat().st_size for path in own)
    start = time.perf_counter()
    states.load(model, optimizer)
    figures = {"bytes": size, "loaded": time.perf_counter() - start} | waits
    (results / f"{rank}.json").write_text(json.dumps(figures))
    if count > 1:
        torch.distributed.destroy_process_group()


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in seconds)
