"""Records of the GPU benchmark, sizes of its models and its synthetic examples."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = dict[str, Any]  # section, name, and value with unit, or error or skipped
IGNORED = -100
MEDIAN, SIGMA, SHORTEST = 428, 0.77, 38  # tokens of LIMA's training examples: log-normal, mean 575
PROMPT_SHARE = 0.15  # tokens of an example that are not supervised


@dataclass(frozen=True)
class Sizes:
    """How large the models and measurements are."""

    models: dict[str, dict[str, int]]  # settings of LlamaConfig
    max_tokens: int  # of an example
    examples: int  # of a step
    epoch: int  # examples of an epoch, whose attention keys are counted
    steps: int  # measured, after one that is not
    micro_batches: tuple[int, ...]  # tokens of a micro-batch, from small to large
    large_model_micro: int  # tokens of a micro-batch of the 7B model
    matmul: int  # rows and columns
    copied: int  # bytes
    prompts: tuple[int, ...]  # rows of a batch for sampling
    prompt_tokens: int
    new_tokens: int
    profiled: int  # rows of the profile


def _llama(hidden: int, layers: int, heads: int, keys: int, mlp: int, vocabulary: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "intermediate_size": mlp,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
    }


FULL = Sizes(
    models={"1.1B": _llama(2048, 22, 32, 4, 5632, 32_000), "7B": _llama(4096, 32, 32, 32, 11_008, 32_000)},
    max_tokens=2048,
    examples=32,
    epoch=1030,
    steps=3,
    micro_batches=(4096, 8192, 16_384, 32_768),
    large_model_micro=2048,
    matmul=8192,
    copied=2 * 2**30,
    prompts=(48, 256),
    prompt_tokens=100,
    new_tokens=64,
    profiled=15,
)
TINY = Sizes(
    models={"1.1B": _llama(32, 2, 4, 2, 48, 300), "7B": _llama(32, 2, 4, 4, 48, 300)},
    max_tokens=48,
    examples=4,
    epoch=20,
    steps=1,
    micro_batches=(64, 128),
    large_model_micro=64,
    matmul=64,
    copied=2**16,
    prompts=(3,),
    prompt_tokens=5,
    new_tokens=3,
    profiled=15,
)


def examples(count: int, *, vocabulary: int, longest: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels with the lengths of LIMA's examples, scaled to `longest` tokens at most."""
    rng = np.random.default_rng(seed)
    scale = longest / 2048
    lengths = np.clip(rng.lognormal(np.log(MEDIAN * scale), SIGMA, count), max(4, SHORTEST * scale), longest)
    rows = []
    for length in lengths.astype(int).tolist():
        ids = rng.integers(3, vocabulary, length).tolist()
        prompt = max(1, round(PROMPT_SHARE * length))
        rows.append((ids, [IGNORED] * prompt + ids[prompt:]))
    return rows


@dataclass(frozen=True)
class Clock:
    """The time at which a section has to end."""

    end: float

    @classmethod
    def after(cls, seconds: float) -> "Clock":
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        return self.end - time.monotonic()


def guarded(
    section: str, clock: Clock, parts: dict[str, Callable[[], Record]], *, needed: float = 0.0
) -> Iterator[Record]:
    """Run the parts of a section; a part that fails or has no time left is a record like the others.

    Args:
        needed: Seconds that a part needs at least.
    """
    for name, part in parts.items():
        if clock.left() < needed:
            yield {"section": section, "name": name, "skipped": "no time left"}
            continue
        start = time.perf_counter()
        try:
            measured = part()
        except Exception as error:  # every failure of a part is a result; the next parts go on
            text = str(error).strip().splitlines() or [""]
            measured = {"error": f"{type(error).__name__}: {text[0][:300]}"}
        yield {"section": section, "name": name, **measured, "took": round(time.perf_counter() - start, 2)}
