"""Training states of SmolLM2-135M's size: seconds for which training waits, and bytes that are hashed per second.

The peer is this project without memory for a copy: training waits until the files are written. Tensors are random.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from accelerate import Accelerator
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
    """Seconds that training waits for a state, in turn with and without the copy, and the time to check one."""
    allocator.keep_freed_memory()  # as training on a CPU
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SMOLLM2), dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters())
    for weight in model.parameters():
        moments = {name: torch.randn_like(weight) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[weight] = {"step": torch.tensor(1.0)} | moments
    size = 12 * sum(weight.numel() for weight in model.parameters())
    blocked: dict[bool, list[float]] = {True: [], False: []}
    written: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        working, accelerator = Path(folder) / "work", Accelerator(cpu=True)
        states = TrainingStates(working, accelerator, state_parts.connect(working, accelerator))
        for _ in range(STATES):
            for copied, waits in blocked.items():
                start = time.perf_counter()
                with patch.object(host_memory, "available", lambda copied=copied: 10**15 if copied else 0):
                    states.save(model, optimizer, Progress())
                waits.append(time.perf_counter() - start)
                states.wait()
                if copied:
                    written.append(time.perf_counter() - start)
        start = time.perf_counter()
        states.load(model, optimizer)
        loaded = time.perf_counter() - start
    print(
        f"{size / 1e9:.2f} GB a state; waits with a copy {_list(blocked[True])} s, written after {_list(written)} s, "
        f"waits without a copy {_list(blocked[False])} s; checked and loaded in {loaded:.2f} s",
        file=sys.stderr,
    )
    what = f"training waits for a state of {size / 1e9:.2f} GB, peer writing it while training waits"
    yield claim(what, ours=median(blocked[True]), peer=median(blocked[False]), unit="s", target="≤ 0.5")


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in seconds)
