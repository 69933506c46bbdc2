"""Estimate time, memory and disk for training an arm."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
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

# Mean tokens of prompt and response of sources that Table 1 does not list. Alpaca: of 3,111 published rows, with
# SmolLM2's tokenizer. These rows were selected for difficulty, so that the mean is rather too large.
UNLISTED = {"alpaca": (14, 147)}


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
    checkpoints: float  # bytes; each clone that reads the arm downloads them once from the DVC remote
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
        checkpoints=cost_formulas.checkpoints(shape.parameters, params.train),
        hours=seconds / 3600,
        fits=fits(params, machine),
    )


def fits(params: Params, machine: Machine) -> list[Fit]:
    """Memory that each strategy needs; it does not depend on the arm."""
    shape = shape_of(params)
    return [fit(shape, strategy, params, machine) for strategy in STRATEGIES]


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
    """From the paper's Table 1 by source, else from UNLISTED; other sources count as the mean over Table 1."""
    rows = list(paper.TRAIN.values())
    mean = [
        sum(row.examples * (value or 0) for row, value in zip(rows, column, strict=True)) / paper.TRAINING_EXAMPLES
        for column in ([row.prompt_tokens for row in rows], [row.response_tokens for row in rows])
    ]
    examples = tokens = supervised = 0
    for source, count in sources.items():
        row = paper.TRAIN.get(source)
        unlisted = UNLISTED.get(source, (round(mean[0]), round(mean[1])))
        prompt, response = (row.prompt_tokens, row.response_tokens or 0) if row else unlisted
        total = min(max_tokens, prompt + response)
        examples, tokens = examples + count, tokens + count * total
        supervised += count * max(0, total - prompt)
    return examples, tokens, supervised


def suggest_config(params: Params, machine: Machine) -> str:
    """The cheapest setting that fits, as text for the user."""
    shape, recompute = shape_of(params), {"gradient_checkpointing": True}
    selective: dict[str, object] = {"gradient_checkpointing": "selective"}
    smaller = recompute | {"micro_batch_tokens": params.train.max_tokens}
    for nodes in (machine.nodes * 2**power for power in range(8)):
        for changes in ({}, selective, recompute, smaller):
            changed = params.model_copy(update={"train": params.train.model_copy(update=changes)})
            for strategy in STRATEGIES:
                if fit(shape, strategy, changed, replace(machine, nodes=nodes)).fits:
                    settings = [f"train.{key}: {str(value).lower()}" for key, value in changes.items()]
                    settings += [f"{nodes} nodes"] if nodes != machine.nodes else []
                    return ", ".join([f"{strategy.name} ({strategy.config})", *settings])
    return f"no setting up to {machine.nodes * 128} nodes; use GPUs with more memory"


def render(arms: Sequence[str], params: Params, machine: Machine, *, price: float | None) -> str:
    """The plan of arms as tables, with a suggestion if the machine is too small.

    Args:
        arms: Names of at least one arm.
        price: Money per GPU and hour, in any currency; None leaves out the cost.
    """
    plans = {arm: plan(arm, params, machine) for arm in arms}
    first = plans[arms[0]]
    lines = [
        f"{params.train.model}: {first.parameters / 1e9:.2f} billion parameters; {params.train.epochs} epochs, "
        f"{params.train.batch_size} examples a step",
        f"{machine.total_gpus} GPUs of {machine.peak / 1e12:,.0f} TFLOP/s at an MFU of {machine.mfu:.0%} (assumed)",
        f"disk during training: {first.disk / GIB:,.1f} GiB (checkpoints of epochs {params.train.keep_epochs}, two "
        "training states)",
        "",
        *_costs(plans, machine, price),
        "",
        f"{'':28}{'GiB/GPU':>10}{'GiB RAM/node':>16}  of {machine.memory:g} GiB",
    ]
    for f in first.fits:
        verdict = f"fits: {f.strategy.config}" if f.fits else "does not fit"
        lines.append(f"{f.strategy.name:28}{f.gpu / GIB:10,.1f}{f.host / GIB:16,.1f}  {verdict}")
    if not any(f.fits for f in first.fits):
        lines += ["", f"no strategy fits; this setting does: {suggest_config(params, machine)}"]
    if warnings := [text for arm, text in params.uncompared_arms().items() if arm in plans]:
        lines += ["", *(f"warning: {text}" for text in warnings)]
    return "\n".join(lines)


def _costs(plans: Mapping[str, Plan], machine: Machine, price: float | None) -> list[str]:
    """Examples, tokens, time, size on the DVC remote and cost of each arm, and their sums."""
    titles = ["arm", "examples", "tokens/epoch", "steps", "hours", "GPU hours", "GiB on the remote"]
    titles += ["cost"] if price is not None else []

    def row(name: str, chosen: Collection[Plan]) -> list[str]:
        gpu_hours = sum(entry.hours for entry in chosen) * machine.total_gpus
        estimated = "" if all(entry.counted for entry in chosen) else "*"
        cells = [
            name,
            f"{sum(entry.examples for entry in chosen):,}",
            f"{sum(entry.tokens for entry in chosen):,}{estimated}",
            f"{sum(entry.steps for entry in chosen):,}",
            f"{sum(entry.hours for entry in chosen):,.2f}",
            f"{gpu_hours:,.1f}",
            f"{sum(entry.checkpoints for entry in chosen) / GIB:,.1f}",
        ]
        return cells + ([f"{gpu_hours * price:,.2f}"] if price is not None else [])

    rows = [titles, *(row(arm, [entry]) for arm, entry in plans.items())]
    if len(plans) > 1:
        rows.append(row("all", plans.values()))
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(titles))]
    lines = [
        "  ".join(
            [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
        )
        for cells in rows
    ]
    if not all(entry.counted for entry in plans.values()):
        lines.append(
            "* estimated from the paper's Table 1, of Alpaca from 3,111 of its rows, of other sources as the mean"
        )
        lines.append("  of Table 1; counted after `dvc repro mix`")
    return lines
