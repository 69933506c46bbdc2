"""Estimate time, memory and disk for training an arm."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lima import jsonl, storage
from lima.config import Params
from lima.config.entries import HubModel
from lima.errors import LimaError
from lima.records import Example
from lima.reporting import paper
from lima.training import cost_formulas
from lima.training.cost_formulas import STRATEGIES, Shape, Strategy

GIB = 2**30
LIBRARIES = 2 * GIB  # memory of CUDA, NCCL and torch without tensors; an assumption
# LLaMA's shapes (Touvron et al. 2023, table 2); a plan works without downloading the paper's models.
LLAMA = {
    "huggyllama/llama-7b": Shape(32, 4096, 4096, 4096, 11008, 32000, tied=False),
    "huggyllama/llama-65b": Shape(80, 8192, 8192, 8192, 22016, 32000, tied=False),
}


class PlanError(LimaError):
    """Raised when the shape of the base model is unknown."""


@dataclass(frozen=True)
class Machine:
    nodes: int
    gpus: int  # per node
    memory: float  # GiB of each GPU
    peak: float  # FLOP/s of each GPU
    mfu: float  # assumed fraction of the peak

    @property
    def total_gpus(self) -> int:
        return self.nodes * self.gpus


@dataclass(frozen=True)
class Fit:
    """Memory that a strategy needs."""

    strategy: Strategy
    gpu: float  # bytes per GPU
    host: float  # bytes per node
    fits: bool


@dataclass(frozen=True)
class Plan:
    """Cost of training an arm."""

    examples: int
    tokens: int  # per epoch
    supervised: int  # per epoch
    counted: bool  # in train.jsonl; False: estimated from the paper's Table 1
    steps: int
    parameters: int
    disk: float  # bytes
    hours: float
    fits: list[Fit]


def plan(arm: str, params: Params, machine: Machine) -> Plan:
    shape = shape_of(params)
    examples, tokens, supervised, counted = tokens_of(arm, params)
    epoch_flops = cost_formulas.flops(tokens, supervised, body=shape.body, head=shape.head)
    seconds = params.train.epochs * epoch_flops / (machine.total_gpus * machine.peak * machine.mfu)
    return Plan(
        examples=examples,
        tokens=tokens,
        supervised=supervised,
        counted=counted,
        steps=params.train.epochs * -(-examples // params.train.batch_size),
        parameters=shape.parameters,
        disk=cost_formulas.disk(shape.parameters, params.train),
        hours=seconds / 3600,
        fits=[fit(shape, strategy, params, machine) for strategy in STRATEGIES],
    )


def fit(shape: Shape, strategy: Strategy, params: Params, machine: Machine) -> Fit:
    gpu, host = cost_formulas.memory(shape, strategy, params.train, gpus=machine.total_gpus)
    return Fit(strategy, gpu + LIBRARIES, host * machine.gpus, gpu + LIBRARIES <= machine.memory * GIB)


def shape_of(params: Params) -> Shape:
    """Shape of the base model, from its folder if it exists, else from LLAMA.

    Raises:
        PlanError: The model is not Llama-like, or has not been written.
    """
    config, source = storage.result_dir("base", params.train.model) / "config.json", params.models[params.train.model]
    if config.is_file():
        try:
            return Shape.from_config(json.loads(config.read_text()))
        except KeyError as error:
            raise PlanError(
                f"unsupported architecture: {config} has no {error}; plans support Llama-like models"
            ) from error
    if isinstance(source, HubModel) and source.id in LLAMA:
        return LLAMA[source.id]
    raise PlanError(
        f"unknown shape of {params.train.model}: {config} not found; run `dvc repro base@{params.train.model}`"
    )


def tokens_of(arm: str, params: Params) -> tuple[int, int, int, bool]:
    """Examples, tokens and supervised tokens per epoch, and whether they were counted.

    Counted if train.jsonl and the base model exist, else estimated from the paper's Table 1.
    """
    mixed, base = storage.result_dir("mix", arm) / "train.jsonl", storage.result_dir("base", params.train.model)
    if mixed.is_file() and (base / "tokenizer.json").is_file():
        lengths = list(_lengths(mixed, base / "tokenizer.json"))
        totals = [min(params.train.max_tokens, prompt + response) for prompt, response in lengths]
        supervised = [max(0, total - prompt) for total, (prompt, _) in zip(totals, lengths, strict=True)]
        return len(lengths), sum(totals), sum(supervised), True
    return (*_estimated(params.arms[arm].examples, params.train.max_tokens), False)


def _lengths(mixed: Path, vocabulary: Path) -> Iterator[tuple[int, int]]:
    """Tokens before the last response and tokens of the last response; with one EOT per turn, without role tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary))
    for example in jsonl.read(mixed, Example):
        *before, last = [len(tokenizer.encode(turn.content).ids) + 1 for turn in example.messages]
        yield sum(before), last


def _estimated(sources: dict[str, int], max_tokens: int) -> tuple[int, int, int]:
    """From the paper's Table 1 by source; sources that it does not list count as the mean over all."""
    rows = list(paper.TRAIN.values())
    mean = [
        sum(row.examples * (value or 0) for row, value in zip(rows, column, strict=True)) / paper.TRAINING_EXAMPLES
        for column in ([row.prompt_tokens for row in rows], [row.response_tokens for row in rows])
    ]
    examples = tokens = supervised = 0
    for source, count in sources.items():
        row = paper.TRAIN.get(source)
        prompt, response = (row.prompt_tokens, row.response_tokens or 0) if row else (round(mean[0]), round(mean[1]))
        total = min(max_tokens, prompt + response)
        examples, tokens = examples + count, tokens + count * total
        supervised += count * max(0, total - prompt)
    return examples, tokens, supervised


def suggest_config(params: Params, machine: Machine) -> str:
    """The cheapest setting that fits, as text for the user."""
    shape, recompute = shape_of(params), {"gradient_checkpointing": True}
    smaller = recompute | {"micro_batch_tokens": params.train.max_tokens}
    for nodes in (machine.nodes * 2**power for power in range(8)):
        for changes in ({}, recompute, smaller):
            changed = params.model_copy(update={"train": params.train.model_copy(update=changes)})
            for strategy in STRATEGIES:
                if fit(shape, strategy, changed, replace(machine, nodes=nodes)).fits:
                    settings = [f"train.{key}: {str(value).lower()}" for key, value in changes.items()]
                    settings += [f"{nodes} nodes"] if nodes != machine.nodes else []
                    return ", ".join([f"{strategy.name} ({strategy.config})", *settings])
    return f"no setting up to {machine.nodes * 128} nodes; use GPUs with more memory"


def render(arm: str, params: Params, machine: Machine) -> str:
    """The plan as a table, with a suggestion if the machine is too small."""
    estimate = plan(arm, params, machine)
    method = "counted" if estimate.counted else "estimated from the paper's Table 1"
    lines = [
        f"arm {arm}, {params.train.model}: {estimate.parameters / 1e9:.2f} billion parameters, "
        f"{estimate.examples:,} examples",
        f"tokens per epoch ({method}): {estimate.tokens:,}, of which {estimate.supervised:,} supervised",
        f"{params.train.epochs} epochs, {estimate.steps:,} steps of {params.train.batch_size} examples",
        f"disk: {estimate.disk / GIB:,.1f} GiB (checkpoints of epochs {params.train.keep_epochs}, two training states)",
        f"time: {estimate.hours:,.2f} hours on {machine.total_gpus} GPUs of {machine.peak / 1e12:,.0f} TFLOP/s "
        f"at an MFU of {machine.mfu:.0%} (assumed)",
        "",
        f"{'':28}{'GiB/GPU':>10}{'GiB RAM/node':>16}  of {machine.memory:g} GiB",
    ]
    for f in estimate.fits:
        verdict = f"fits: {f.strategy.config}" if f.fits else "does not fit"
        lines.append(f"{f.strategy.name:28}{f.gpu / GIB:10,.1f}{f.host / GIB:16,.1f}  {verdict}")
    if not any(f.fits for f in estimate.fits):
        lines += ["", f"no strategy fits; this setting does: {suggest_config(params, machine)}"]
    if warning := params.uncompared_arms().get(arm):
        lines += ["", f"warning: {warning}"]
    return "\n".join(lines)
