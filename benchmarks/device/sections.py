"""Sections of the GPU benchmark: correctness, speed and counts.

A section is a function of sizes, device and clock, and yields records. All models have random weights. On a CPU, with
small sizes, everything runs too, for the test suite; its figures then say nothing about a GPU.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.device import counts
from benchmarks.device.records import Clock, Record, Sizes, examples, guarded
from lima import config
from lima.config.entries import RandomModel
from lima.config.sections import Decoding, Train
from lima.inference import generate as sampling
from lima.inference.model import Checkpoint
from lima.records import Prompt, Provenance, Turn
from lima.training import (
    attention,
    base_model,
    determinism,
    fused_layers,
    launch,
    trainer,
    training_state,
    varlen_attention,
)
from lima.training.cost_formulas import flops
from lima.training.loss import LossModel
from lima.training.packing import pack, plan
from lima.training.throughput import known_peak, parameters, peak_memory
from lima.training.tokenization import Encoded
from lima.training.trainer import Progress, Requests, StepBatch

LAPTOP = Path(config.__file__).parent / "profiles" / "laptop.yaml"
PEER = Path(__file__).parents[1] / "trainers" / "sft.py"
BASE = {
    "precision": "bf16",
    "residual_precision": "fp32",
    "fused_layers": False,
    "gradient_checkpointing": False,
    "residual_dropout": 0.0,
    "lr": 1e-5,
    "lr_end": 1e-6,
}
ALL = {"fused_layers": True, "residual_precision": "bf16"}
LIMITS = {"fp32": 1e-4, "bf16": 0.05}  # relative differences of gradients


@cache
def _laptop() -> Train:
    return config.load(LAPTOP).train


def recipe(sizes: Sizes, **changes: object) -> Train:
    values = _laptop().model_dump() | BASE | {"max_tokens": sizes.max_tokens} | changes
    return Train.model_validate(values)


def new_model(settings: dict[str, int], device: torch.device) -> Any:
    """An untrained Llama in fp32, made on the device."""
    torch.manual_seed(17)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(
            LlamaConfig(**settings, tie_word_embeddings=False), dtype=torch.float32, attn_implementation="sdpa"
        )


def encoded(sizes: Sizes, count: int, *, vocabulary: int, seed: int) -> list[Encoded]:
    rows = examples(count, vocabulary=vocabulary, longest=sizes.max_tokens, seed=seed)
    return [Encoded(str(number), tuple(ids), tuple(labels), 0) for number, (ids, labels) in enumerate(rows)]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Free the GPU memory of models that are no longer used."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


# Correctness


def correctness(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """Relative differences of loss and gradients between each change and the plain engine, on a small model."""
    small = sizes.models["1.1B"] | {"num_hidden_layers": 2}
    check = partial(_compared, sizes, small, device)
    parts: dict[str, Callable[[], Record]] = {
        "attention kernels": partial(_kernels, small, device),
        "one call per row against one per example, bf16": lambda: check({}, kernel=True),
        "fused layers, fp32": lambda: check({"precision": "fp32"}, fuse=True),
        "fused layers, bf16": lambda: check({}, fuse=True),
        "bf16 residual stream": lambda: check({}, changes={"residual_precision": "bf16"}),
        "all changes, bf16": lambda: check({}, changes={"residual_precision": "bf16"}, fuse=True, kernel=True),
        "bf16 against fp32": lambda: check({"precision": "fp32"}, changes={"precision": "bf16"}),
        "selective checkpointing": lambda: check({}, changes={"gradient_checkpointing": "selective"}, kernel=True),
        "gradient checkpointing": lambda: check({}, changes={"gradient_checkpointing": True}, kernel=True),
    }
    yield from guarded("correctness", clock, parts)


def _kernels(settings: dict[str, int], device: torch.device) -> Record:
    """The kernels of the installed packages, and how far each is from one call per example."""
    heads, keys = settings["num_attention_heads"], settings["num_key_value_heads"]
    width = settings["hidden_size"] // heads
    kernel, rejected = varlen_attention.select(
        varlen_attention.installed(), attention._reference, heads=(heads, keys, width), device=str(device)
    )
    return {"text": kernel.name if kernel else "none", "rejected": rejected}


def _compared(
    sizes: Sizes,
    settings: dict[str, int],
    device: torch.device,
    plain: dict[str, object],
    *,
    changes: dict[str, object] | None = None,
    fuse: bool = False,
    kernel: bool = False,
) -> Record:
    reference = _gradients(sizes, settings, device, recipe(sizes, **plain))
    changed = _gradients(sizes, settings, device, recipe(sizes, **plain | (changes or {})), fuse=fuse, kernel=kernel)
    loss = abs(changed[0] - reference[0]) / abs(reference[0])
    gradient = float((changed[1] - reference[1]).norm() / reference[1].norm())
    limit = LIMITS["fp32" if recipe(sizes, **plain | (changes or {})).precision == "fp32" else "bf16"]
    return {"value": gradient, "unit": "relative", "loss": loss, "limit": limit, "ok": max(loss, gradient) <= limit} | (
        {"text": changed[2]} if changed[2] else {}
    )


def _gradients(
    sizes: Sizes,
    settings: dict[str, int],
    device: torch.device,
    train: Train,
    *,
    fuse: bool = False,
    kernel: bool = False,
) -> tuple[float, torch.Tensor, str]:
    """Loss and gradients of one packed row, and what was fused or selected."""
    model = new_model(settings, device)
    launch.configure_for_training(model, train)
    fused = fused_layers.fuse(model, _layers(device), device=device) if fuse else None
    selected = attention.select_kernel(model, device, bf16=True, log=False) if kernel else None
    loss_model = LossModel(model, selected).train()
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=train.precision == "bf16"):
            loss = loss_model(pack(encoded(sizes, sizes.examples, vocabulary=settings["vocab_size"], seed=1)[:8]))
        loss.backward()
    finally:
        if fused:
            fused.remove()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    chosen = [str(fused)] if fused else []
    chosen += [selected.name if selected else "one call per example"] if kernel else []
    return float(loss.detach()), gradient, "; ".join(chosen)


def _layers(device: torch.device) -> fused_layers.Kernels:
    """Compiled on a GPU; on a CPU, compilation takes a minute."""
    return fused_layers.installed() if device.type == "cuda" else fused_layers.plain()


# Ceilings


def ceilings(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """Speeds that nothing on this device exceeds: a large product, a copy, and the start of a small kernel."""
    parts: dict[str, Callable[[], Record]] = {
        "matrix product in bf16": partial(_matmul, sizes.matmul, torch.bfloat16, device),
        "matrix product in fp32": partial(_matmul, sizes.matmul, torch.float32, device),
        "copy within the memory": partial(_copy, sizes.copied, device),
        "start of a kernel": partial(_start, device),
    }
    yield from guarded("ceilings", clock, parts)


def _seconds(work: Callable[[], object], device: torch.device, *, runs: int = 5) -> float:
    """Median seconds of a run, after one that is not measured."""
    times = []
    for _ in range(runs + 1):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times[1:])


def _matmul(side: int, dtype: torch.dtype, device: torch.device) -> Record:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    speed = 2 * side**3 / _seconds(lambda: a @ b, device)
    peak = known_peak(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    share = {"share_of_peak": speed / peak} if peak and dtype == torch.bfloat16 else {}
    return {"value": speed / 1e12, "unit": "TFLOP/s", **share}


def _copy(size: int, device: torch.device) -> Record:
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {"value": 2 * size / _seconds(lambda: target.copy_(source), device) / 1e9, "unit": "GB/s"}


def _start(device: torch.device) -> Record:
    number, count = torch.zeros(1, device=device), 1000

    def many() -> None:
        for _ in range(count):
            number.add_(1)

    return {"value": _seconds(many, device) / count * 1e6, "unit": "µs"}


# Training


class Run:
    """The engine with a model, ready for steps."""

    def __init__(self, sizes: Sizes, settings: dict[str, int], device: torch.device, train: Train) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps one state per process
        self.accelerator = launch.accelerator(train)
        self.train, self.device, self.sizes = train, device, sizes
        model = new_model(settings, device)
        launch.configure_for_training(model, train)
        self.body, self.head = parameters(model)
        self.undo: list[Callable[[], None]] = []
        self.text = ""
        fuse, installed = fused_layers.fuse, train.fused_layers
        if installed:
            fused = fuse(model, _layers(device), device=device)
            self.undo.append(fused.remove)
            self.text = f"fused: {fused}; "
        without = train.model_copy(update={"fused_layers": False})  # fused above, to remove it again
        self.loss_model, self.optimizer = trainer.prepare(model, without, self.accelerator)
        self.loss_model.train()
        self.data = encoded(sizes, sizes.examples * (sizes.steps + 1), vocabulary=settings["vocab_size"], seed=2)
        planned = plan(
            [len(row.ids) for row in self.data],
            batch_size=sizes.examples,
            micro_tokens=train.micro_tokens,
            ranks=1,
            seed=17,
            epoch=1,
        )
        self.steps = [
            StepBatch([[self.data[index] for index in part] for part in parts], number, train.lr)
            for number, parts in enumerate(planned)
        ]

    def step(self, number: int) -> float:
        """Take a step; return its loss."""
        return self.result_of(number).loss

    def result_of(self, number: int) -> trainer.StepResult:
        """Take a step."""
        return trainer.train_step(
            self.steps[number], self.loss_model, self.optimizer, self.accelerator, self.train, Requests()
        )

    def weights(self) -> torch.Tensor:
        return torch.cat([weight.detach().flatten() for weight in self.loss_model.parameters()])

    def close(self) -> None:
        for undo in self.undo:
            undo()
        self.loss_model, self.optimizer = self.accelerator.free_memory(self.loss_model, self.optimizer)
        release(self.device)


def _trained(
    sizes: Sizes, size: str, device: torch.device, changes: dict[str, object], *, varlen: bool = True
) -> Record:
    """Tokens per second, MFU and memory of training steps."""
    release(device)
    run = Run(sizes, sizes.models[size], device, recipe(sizes, **changes))
    try:
        kernel = run.loss_model.kernel
        if not varlen:
            run.loss_model.kernel = kernel = None
        losses = [run.step(0)]
        synchronize(device)
        start = time.perf_counter()
        losses += [run.step(number) for number in range(1, sizes.steps + 1)]
        synchronize(device)
        seconds = time.perf_counter() - start
        steps = run.steps[1 : sizes.steps + 1]
        tokens = sum(step.tokens for step in steps)
        work = flops(tokens, sum(step.supervised for step in steps), body=run.body, head=run.head)
        peak = known_peak(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        return {
            "value": tokens / seconds,
            "unit": "tokens/s",
            "mfu": work / seconds / peak if peak else None,
            "gb": peak_memory(device) / 1e9,
            "loss": losses[-1],
            "text": run.text + ("attention: " + (kernel.name if kernel else "one call per example")),
        }
    finally:
        run.close()


def training(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """The 1.1B model: each change added to the ones before, micro-batches, and checkpointing."""
    few, some, *more = sizes.micro_batches
    trained = partial(_trained, sizes, "1.1B", device)
    most = more[0] if more else some
    parts: dict[str, Callable[[], Record]] = {
        f"one call per example, {some:,}": lambda: trained({"micro_batch_tokens": some}, varlen=False),
        f"+ one call per row, {some:,}": lambda: trained({"micro_batch_tokens": some}),
        f"+ fused layers, {some:,}": lambda: trained({"micro_batch_tokens": some, "fused_layers": True}),
        f"+ bf16 stream (all), {some:,}": lambda: trained({"micro_batch_tokens": some} | ALL),
        f"all, {most:,}": lambda: trained({"micro_batch_tokens": most} | ALL),
        f"all, selective checkpointing, {most:,}": lambda: trained(
            {"micro_batch_tokens": most, "gradient_checkpointing": "selective"} | ALL
        ),
        f"all, gradient checkpointing, {most:,}": lambda: trained(
            {"micro_batch_tokens": most, "gradient_checkpointing": True} | ALL
        ),
        **{f"all, {tokens:,}": partial(trained, {"micro_batch_tokens": tokens} | ALL) for tokens in more[1:]},
        f"all, {few:,}": lambda: trained({"micro_batch_tokens": few} | ALL),
        f"all, residual dropout 0.2, {some:,}": lambda: trained(
            {"micro_batch_tokens": some, "residual_dropout": 0.2} | ALL
        ),
    }
    yield from guarded("training 1.1B", clock, parts, needed=8 if device.type == "cuda" else 0)


def training_large(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """The 7B model, which needs 18 bytes per parameter and its activations."""
    trained, micro = partial(_trained, sizes, "7B", device), sizes.large_model_micro
    parts: dict[str, Callable[[], Record]] = {
        f"all, gradient checkpointing, {8 * micro:,}": lambda: trained(
            {"micro_batch_tokens": 8 * micro, "gradient_checkpointing": True} | ALL
        ),
        f"all, selective checkpointing, {2 * micro:,}": lambda: trained(
            {"micro_batch_tokens": 2 * micro, "gradient_checkpointing": "selective"} | ALL
        ),
        f"all, {2 * micro:,}": lambda: trained({"micro_batch_tokens": 2 * micro} | ALL),
        f"all, {micro:,}": lambda: trained({"micro_batch_tokens": micro} | ALL),
        f"one call per example, {micro:,}": lambda: trained({"micro_batch_tokens": micro}, varlen=False),
    }
    yield from guarded("training 7B", clock, parts, needed=15 if device.type == "cuda" else 0)


# Determinism


def repeated_runs(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """`train.deterministic`: unequal weights after two runs and after a resumed one, and the price in tokens/s.

    The deterministic parts run first: cuBLAS reads its workspace's size from the environment when it starts.
    """
    some = sizes.micro_batches[1]
    with_it, without = ({"micro_batch_tokens": some, "deterministic": mode} | ALL for mode in (True, False))
    dropping: dict[str, object] = {"residual_dropout": 0.2}
    parts: dict[str, Callable[[], Record]] = {
        "two runs": partial(_unequal, sizes, device, with_it | dropping, resumed=False),
        "a resumed run": partial(_unequal, sizes, device, with_it | dropping, resumed=True),
        f"all, deterministic, {some:,}": partial(_trained, sizes, "1.1B", device, with_it),
        f"all, not deterministic, {some:,}": partial(_trained, sizes, "1.1B", device, without),
        "two runs without it": partial(_unequal, sizes, device, without | dropping, resumed=False),
    }
    try:
        yield from guarded("determinism", clock, parts)
    finally:
        determinism.configure(False)


def _unequal(sizes: Sizes, device: torch.device, changes: dict[str, object], *, resumed: bool) -> Record:
    """Weights of a model of two layers that differ between two runs; resumed: of which the second has a state."""
    settings = sizes.models["1.1B"] | {"num_hidden_layers": 2}
    train = recipe(sizes, **changes)
    first = _final_weights(sizes, settings, device, train, states=None)
    with tempfile.TemporaryDirectory() as folder:
        second = _final_weights(sizes, settings, device, train, states=Path(folder) if resumed else None)
    unequal = int((first != second).sum())
    limit = {"limit": 0, "ok": unequal == 0} if train.deterministic else {}
    return {"value": unequal, "unit": f"of {len(first):,} weights", **limit}


def _final_weights(
    sizes: Sizes, settings: dict[str, int], device: torch.device, train: Train, *, states: Path | None
) -> torch.Tensor:
    """Weights after all steps; with a folder, the run is stopped after its first step and resumed from its state."""
    run = Run(sizes, settings, device, train)
    try:
        result = run.result_of(0)
        if states:
            metrics = trainer._step_metrics(run.steps[0], result, epoch=1, seconds=1.0)
            kept = training_state.open_states(states / "work", run.accelerator, data=[], base=[], recipe=train)
            kept.save(run.loss_model, run.optimizer, Progress((metrics,)))
            kept.finish()
            run.close()
            run = Run(sizes, settings, device, train)
            kept = training_state.open_states(states / "work", run.accelerator, data=[], base=[], recipe=train)
            assert kept.load(run.loss_model, run.optimizer).steps == 1
        for number in range(1, sizes.steps + 1):
            run.step(number)
        return run.weights().cpu()
    finally:
        run.close()


# Peers


def peers(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """TRL's SFTTrainer and transformers' Trainer on the same model and lengths, each in a process of its own."""
    python = os.environ.get("TRL_PYTHON", sys.executable)
    installed = "TRL_PYTHON" in os.environ or find_spec("trl") is not None
    rows = max(1, sizes.micro_batches[1] // sizes.max_tokens)
    common = {"rows": rows, "accumulate": max(1, sizes.examples // rows), "packing": False}
    trl = {  # the fastest first, since the time may not suffice for all
        "TRL, padding-free, Liger": {
            "kind": "trl",
            "padding_free": True,
            "attention": _padding_free_attention(),
            "liger": True,
        },
        "TRL, padding-free": {"kind": "trl", "padding_free": True, "attention": _padding_free_attention()},
        "TRL, packing": {"kind": "trl", "packing": True, "accumulate": 1},
        "TRL, defaults": {"kind": "trl", "checkpointing": True},
    }
    for settings in trl.values():
        if "padding_free" in settings:  # half of a step in a micro-batch: about as many tokens as ours
            settings |= {"rows": max(1, sizes.examples // 2), "accumulate": 2}
    trainer_alone = {"transformers' Trainer, padded rows": {"kind": "trainer"}}
    with tempfile.TemporaryDirectory() as folder:
        same = _peer_files(sizes, Path(folder)) | common | {"bf16": True, "cpu": device.type == "cpu"}
        parts: dict[str, Callable[[], Record]] = {}
        for name, settings in (trl | trainer_alone).items():
            if settings["kind"] == "trl" and not installed:
                yield {"section": "peers", "name": name, "skipped": "TRL is not installed, and TRL_PYTHON is not set"}
            elif settings.get("liger") and not find_spec("liger_kernel"):
                yield {"section": "peers", "name": name, "skipped": "liger-kernel is not installed"}
            elif "attention" in settings and settings["attention"] is None:
                yield {"section": "peers", "name": name, "skipped": "flash-attn is not installed"}
            else:
                parts[name] = partial(_peer, python, same | settings, sizes, clock)
        yield from guarded("peers", clock, parts, needed=20 if device.type == "cuda" else 0)


def _padding_free_attention() -> str | None:
    """The attention of transformers for rows without padding; in another interpreter, flash-attn 2 is tried."""
    if "TRL_PYTHON" in os.environ:
        return "flash_attention_2"
    if find_spec("flash_attn_interface"):
        return "flash_attention_3"
    return "flash_attention_2" if find_spec("flash_attn") else None


def _peer_files(sizes: Sizes, folder: Path) -> dict[str, object]:
    """A configuration, a tokenizer and examples for a peer's process."""
    settings = sizes.models["1.1B"]
    LlamaConfig(**settings, tie_word_embeddings=False).save_pretrained(folder / "model")
    _tokenizer().save_pretrained(folder / "model")
    data = examples(
        sizes.examples * (sizes.steps + 2), vocabulary=settings["vocab_size"], longest=sizes.max_tokens, seed=2
    )
    lines = (json.dumps({"input_ids": ids, "labels": labels}) for ids, labels in data)
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "model": str(folder / "model"),
        "random": True,
        "data": str(folder / "data.jsonl"),
        "scratch": str(folder / "scratch"),
        "max_tokens": sizes.max_tokens,
        "threads": os.cpu_count(),
    }


def _tokenizer() -> Any:
    source = RandomModel(kind="random", layers=1, hidden=8, heads=2, context=64)
    return base_model.load(source, seed=1)[1]


def _first_gpu() -> str:
    """The GPU that is measured; Trainer would use all that are visible."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _peer(python: str, settings: dict[str, Any], sizes: Sizes, clock: Clock) -> Record:
    """Steps of a peer; the first is not counted."""
    process = subprocess.Popen(
        [python, str(PEER), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": _first_gpu()},
    )
    try:
        output, errors = process.communicate("\n" * (sizes.steps + 1), timeout=max(1.0, clock.left()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return {"error": "no result before the section's end"}
    reports = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if len(reports) < sizes.steps + 1:
        return {"error": f"ended with status {process.returncode}: {errors.strip()[-300:]}"}
    counted = reports[1:]
    seconds = sum(report["seconds"] for report in counted)
    return {
        "value": sum(report["tokens"] for report in counted) / seconds,
        "unit": "tokens/s",
        "gb": max(report["peak"] for report in reports) / 1e9,
        "text": "random weights, fp32 with bf16 autocast, AdamW",
    }


# Sampling


def sampling_speed(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """New tokens per second of a batch, with transformers' generate beside it."""
    model = new_model(sizes.models["1.1B"], device).to(torch.bfloat16).eval()
    torch.backends.cuda.enable_cudnn_sdp(False)  # as lima.inference.model does
    checkpoint = Checkpoint(model, _tokenizer(), ends=frozenset(), context=4096)
    parts: dict[str, Callable[[], Record]] = {}
    for rows in sizes.prompts:
        requests = _requests(sizes, rows)
        modes: list[sampling.Mode] = ["eager", "static", "graph"]
        for mode in modes if device.type == "cuda" else modes[:2]:
            parts[f"lima, {rows} prompts, {mode}"] = partial(_sampled, checkpoint, requests, sizes, device, mode)
        parts[f"transformers' generate, {rows} prompts"] = partial(_generated, model, requests, sizes, device)
    yield from guarded("sampling", clock, parts)


def vllm_speed(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """New tokens per second of vLLM, which takes most of its time to start."""
    if find_spec("vllm"):
        yield from guarded("vllm", clock, {"vLLM": partial(_vllm, sizes)}, needed=45)
    else:
        yield {"section": "vllm", "name": "vLLM", "skipped": "vLLM is not installed"}


def _requests(sizes: Sizes, rows: int) -> list[sampling.GenerationRequest]:
    place = Provenance(source="x", site="x", id="x", url="", author="", license="", digest="")
    rng = torch.Generator().manual_seed(3)
    requests = []
    for number in range(rows):
        prompt = Prompt(id=str(number), messages=(Turn(role="user", content="x"),), tags=(), provenance=place)
        ids = torch.randint(3, 256, (sizes.prompt_tokens,), generator=rng).tolist()
        requests.append(sampling.GenerationRequest(prompt, 0, ids))
    return requests


def _decoding(sizes: Sizes, rows: int) -> Decoding:
    return Decoding(
        top_p=0.9,
        temperature=0.7,
        repetition_penalty=1.2,
        max_tokens=sizes.new_tokens,
        batch_size=rows,
        precision="bf16",
        seed=17,
    )


def _sampled(
    checkpoint: Checkpoint,
    requests: list[sampling.GenerationRequest],
    sizes: Sizes,
    device: torch.device,
    mode: sampling.Mode,
) -> Record:
    decoding, rows = _decoding(sizes, len(requests)), len(requests)
    seconds = _seconds(lambda: sampling.sampled(checkpoint, requests, decoding, mode=mode), device, runs=1)
    speed = {"value": rows * sizes.new_tokens / seconds, "unit": "tokens/s"}
    return speed | {"text": f"{1000 * seconds / sizes.new_tokens:.1f} ms per step"}


def _generated(model: Any, requests: list[sampling.GenerationRequest], sizes: Sizes, device: torch.device) -> Record:
    ids = torch.tensor([request.ids for request in requests], device=device)
    options = {
        "do_sample": True,
        "top_p": 0.9,
        "top_k": 0,
        "temperature": 0.7,
        "repetition_penalty": 1.2,
        "min_new_tokens": sizes.new_tokens,
        "max_new_tokens": sizes.new_tokens,
        "pad_token_id": 0,
    }

    def work() -> None:
        with torch.inference_mode():
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)

    seconds = _seconds(work, device, runs=1)
    return {"value": len(requests) * sizes.new_tokens / seconds, "unit": "tokens/s"}


def _vllm(sizes: Sizes) -> Record:
    from vllm import LLM, SamplingParams

    rows = sizes.prompts[-1]
    with tempfile.TemporaryDirectory() as folder:
        _peer_files(sizes, Path(folder))
        llm = LLM(
            model=f"{folder}/model",
            load_format="dummy",
            dtype="bfloat16",
            gpu_memory_utilization=0.5,
            max_model_len=1024,
        )
        settings = SamplingParams(
            max_tokens=sizes.new_tokens, ignore_eos=True, temperature=0.7, top_p=0.9, repetition_penalty=1.2
        )
        prompts = [{"prompt_token_ids": request.ids} for request in _requests(sizes, rows)]
        llm.generate(prompts[:1], settings, use_tqdm=False)
        start = time.perf_counter()
        llm.generate(prompts, settings, use_tqdm=False)
        seconds = time.perf_counter() - start
    return {"value": rows * sizes.new_tokens / seconds, "unit": "tokens/s", "text": f"{rows} prompts"}


# Profile


def profile(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """Kernels of a training step of the 1.1B model with all changes, and the operations that take the most time."""
    micro = sizes.micro_batches[1]
    yield from guarded(
        "profile",
        clock,
        {
            "totals": partial(_profiled, sizes, device, micro, rows := []),
            "top": lambda: {"rows": rows},
            "waits for the GPU": partial(_synchronizations, sizes, device, micro),
        },
    )


def _synchronizations(sizes: Sizes, device: torch.device, micro: int) -> Record:
    """Times that the host waits for the GPU in a step, as PyTorch warns of them."""
    if device.type != "cuda":
        return {"skipped": "no GPU to wait for"}
    release(device)
    run = Run(sizes, sizes.models["1.1B"], device, recipe(sizes, micro_batch_tokens=micro, **ALL))
    try:
        run.step(0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            run.step(1)
        return {"value": sum("synchronizing" in str(warning.message) for warning in caught), "unit": "waits a step"}
    finally:
        torch.cuda.set_sync_debug_mode("default")
        run.close()


def _profiled(sizes: Sizes, device: torch.device, micro: int, rows: list[Record]) -> Record:
    release(device)
    run = Run(sizes, sizes.models["1.1B"], device, recipe(sizes, micro_batch_tokens=micro, **ALL))
    try:
        run.step(0)
        synchronize(device)
        activities = [torch.profiler.ProfilerActivity.CPU]
        cuda = device.type == "cuda"
        activities += [torch.profiler.ProfilerActivity.CUDA] if cuda else []
        with torch.profiler.profile(activities=activities) as profiled:
            start = time.perf_counter()
            run.step(1)
            synchronize(device)
            seconds = time.perf_counter() - start
        time_of = "self_device_time_total" if cuda else "self_cpu_time_total"
        averages = [event for event in profiled.key_averages() if not cuda or "CUDA" in str(event.device_type)]
        averages.sort(key=lambda event: -getattr(event, time_of))
        total = sum(getattr(event, time_of) for event in averages) / 1e6
        for event in averages[: sizes.profiled]:
            own = getattr(event, time_of) / 1e6
            rows.append({"name": event.key[:100], "calls": event.count, "ms": 1000 * own, "share": own / total})
        kernels = [event for event in profiled.events() if "CUDA" in str(event.device_type)]
        return {
            "value": len(kernels) if cuda else sum(event.count for event in averages),
            "unit": "kernels a step" if cuda else "operations a step",
            "busy": total / seconds if cuda else None,  # share of the step in which the GPU computes
            "text": f"micro-batches of {micro:,} tokens; {run.text}",
        }
    finally:
        run.close()


# Counts


def counted(sizes: Sizes, device: torch.device, clock: Clock) -> Iterator[Record]:
    """Attention keys, operations and bytes; the same on each device."""
    yield from counts.counts(sizes, recipe, ALL, clock)


SECTIONS: dict[str, Callable[[Sizes, torch.device, Clock], Iterator[Record]]] = {
    "correctness": correctness,
    "ceilings": ceilings,
    "training": training,
    "training_large": training_large,
    "determinism": repeated_runs,
    "peers": peers,
    "sampling": sampling_speed,
    "profile": profile,
    "vllm": vllm_speed,
    "counts": counted,
}
