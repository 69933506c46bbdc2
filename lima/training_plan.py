"""What training an arm will take on a described machine, and which settings fit it, before anything starts."""

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
from lima.training import resources
from lima.training.resources import STRATEGIES, Shape, Strategy

GIB = 2**30
LIBRARIES = 2 * GIB  # what CUDA, NCCL and torch hold of a GPU beside tensors; ours
# LLaMA's shapes (Touvron et al. 2023, table 2), so that a plan needs no download of the paper's models.
LLAMA = {
    "huggyllama/llama-7b": Shape(32, 4096, 4096, 4096, 11008, 32000, tied=False),
    "huggyllama/llama-65b": Shape(80, 8192, 8192, 8192, 22016, 32000, tied=False),
}


class PlanError(LimaError):
    """Something that has to be known, or to exist, before there can be a plan."""


@dataclass(frozen=True)
class Machine:
    nodes: int
    gpus: int  # a node
    memory: float  # GiB of each GPU
    peak: float  # FLOP/s of each GPU
    mfu: float  # share of the peak that is assumed to be reached

    @property
    def all(self) -> int:
        return self.nodes * self.gpus


@dataclass(frozen=True)
class Fit:
    strategy: Strategy
    gpu: float  # bytes of each GPU
    machine: float  # bytes of each node's memory
    fits: bool


@dataclass(frozen=True)
class Plan:
    examples: int
    tokens: int  # an epoch
    supervised: int  # an epoch
    counted: bool  # from train.jsonl; estimated from the paper's Table 1 if not
    steps: int
    parameters: int
    disk: float  # bytes
    hours: float
    fits: list[Fit]


def plan(arm: str, p: Params, machine: Machine) -> Plan:
    shape = shape_of(p)
    examples, tokens, supervised, counted = tokens_of(arm, p)
    a_step = resources.flops(tokens, supervised, body=shape.body, head=shape.head)
    seconds = p.train.epochs * a_step / (machine.all * machine.peak * machine.mfu)
    return Plan(
        examples=examples,
        tokens=tokens,
        supervised=supervised,
        counted=counted,
        steps=p.train.epochs * -(-examples // p.train.batch_size),
        parameters=shape.parameters,
        disk=resources.disk(shape.parameters, p.train),
        hours=seconds / 3600,
        fits=[fit(shape, strategy, p, machine) for strategy in STRATEGIES],
    )


def fit(shape: Shape, strategy: Strategy, p: Params, machine: Machine) -> Fit:
    gpu, host = resources.memory(shape, strategy, p.train, gpus=machine.all)
    return Fit(strategy, gpu + LIBRARIES, host * machine.gpus, gpu + LIBRARIES <= machine.memory * GIB)


def shape_of(p: Params) -> Shape:
    """The base model's shape, from its folder if it was made, else from LLAMA."""
    config, source = storage.result_dir("base", p.train.model) / "config.json", p.models[p.train.model]
    if config.is_file():
        try:
            return Shape.of(json.loads(config.read_text()))
        except KeyError as error:
            raise PlanError(f"{config} has no {error}, so it is no model like Llama, which plans are for") from error
    if isinstance(source, HubModel) and source.id in LLAMA:
        return LLAMA[source.id]
    raise PlanError(
        f"there is no {config}, and the shape of {p.train.model} is not known; run `dvc repro base@{p.train.model}`"
    )


def tokens_of(arm: str, p: Params) -> tuple[int, int, int, bool]:
    """Examples, and an epoch's tokens and supervised tokens; counted where train.jsonl and the base are there."""
    mixed, base = storage.result_dir("mix", arm) / "train.jsonl", storage.result_dir("base", p.train.model)
    if mixed.is_file() and (base / "tokenizer.json").is_file():
        lengths = list(_lengths(mixed, base / "tokenizer.json"))
        most = p.train.max_tokens
        whole = [min(most, prompt + response) for prompt, response in lengths]
        supervised = [max(0, total - prompt) for total, (prompt, _) in zip(whole, lengths, strict=True)]
        return len(lengths), sum(whole), sum(supervised), True
    return (*_estimated(p.arms[arm].examples, p.train.max_tokens), False)


def _lengths(mixed: Path, vocabulary: Path) -> Iterator[tuple[int, int]]:
    """Tokens of each example up to its last response, and of that; an EOT a turn included, role marks left out."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary))
    for example in jsonl.read(mixed, Example):
        *before, last = [len(tokenizer.encode(turn.content).ids) + 1 for turn in example.messages]
        yield sum(before), last


def _estimated(sources: dict[str, int], max_tokens: int) -> tuple[int, int, int]:
    """As the paper's Table 1 has them a source; one that it does not know counts as its mean over all."""
    rows = list(paper.TRAIN.values())
    mean = [
        sum(row.examples * (value or 0) for row, value in zip(rows, column, strict=True)) / paper.TRAINING_EXAMPLES
        for column in ([row.prompt_tokens for row in rows], [row.response_tokens for row in rows])
    ]
    examples = tokens = supervised = 0
    for source, count in sources.items():
        row = paper.TRAIN.get(source)
        prompt, response = (row.prompt_tokens, row.response_tokens or 0) if row else (round(mean[0]), round(mean[1]))
        whole = min(max_tokens, prompt + response)
        examples, tokens = examples + count, tokens + count * whole
        supervised += count * max(0, whole - prompt)
    return examples, tokens, supervised


def way_out(p: Params, machine: Machine) -> str:
    """The first setting that would fit, tried from the cheapest to the dearest; words for a person."""
    shape, twice = shape_of(p), {"gradient_checkpointing": True}
    smaller = twice | {"micro_batch_tokens": p.train.max_tokens}
    for nodes in (machine.nodes * 2**power for power in range(8)):
        for changes in ({}, twice, smaller):
            changed = p.model_copy(update={"train": p.train.model_copy(update=changes)})
            for strategy in STRATEGIES:
                if fit(shape, strategy, changed, replace(machine, nodes=nodes)).fits:
                    words = [f"train.{key}: {str(value).lower()}" for key, value in changes.items()]
                    words += [f"{nodes} nodes"] if nodes != machine.nodes else []
                    return ", ".join([f"{strategy.name} ({strategy.config})", *words])
    return f"nothing up to {machine.nodes * 128} nodes: take GPUs with more memory"


def render(arm: str, p: Params, machine: Machine) -> str:
    """The plan as a table, and what to do where the machine is too small."""
    made = plan(arm, p, machine)
    how = "counted" if made.counted else "estimated from the paper's Table 1"
    lines = [
        f"arm {arm}, {p.train.model}: {made.parameters / 1e9:.2f} billion parameters, {made.examples:,} examples",
        f"tokens an epoch ({how}): {made.tokens:,}, of which {made.supervised:,} supervised",
        f"{p.train.epochs} epochs, {made.steps:,} steps of {p.train.batch_size} examples",
        f"disk: {made.disk / GIB:,.1f} GiB (checkpoints of epochs {p.train.keep_epochs}, two states to continue from)",
        f"time: {made.hours:,.2f} hours on {machine.all} GPUs of {machine.peak / 1e12:,.0f} TFLOP/s at an MFU of "
        f"{machine.mfu:.0%}, which is assumed",
        "",
        f"{'':28}{'GiB a GPU':>10}{'GiB RAM a node':>16}  of {machine.memory:g} GiB",
    ]
    for f in made.fits:
        verdict = f"fits: {f.strategy.config}" if f.fits else "does not fit"
        lines.append(f"{f.strategy.name:28}{f.gpu / GIB:10,.1f}{f.machine / GIB:16,.1f}  {verdict}")
    if not any(f.fits for f in made.fits):
        lines += ["", f"nothing fits as it is; this would: {way_out(p, machine)}"]
    if warning := p.uncompared_arms().get(arm):
        lines += ["", f"warning: {warning}"]
    return "\n".join(lines)
