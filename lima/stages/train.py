"""Fine-tune the base model on an arm's examples: `python -m lima.stages.train ARM`, or under `accelerate launch`."""

import hashlib
import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lima import jsonl, params, paths, tracking
from lima.errors import LimaError, command
from lima.records import EpochMetrics, Example, Gate, Record, StepMetrics


class TrainError(LimaError):
    """What has to be put right before training can start."""


class TrainingRun(Record):
    run_id: str  # MLflow's; "" where its server was away


class Tokens(Record):
    """What the arm's examples come to."""

    examples: int
    cut_examples: int  # longer than max_tokens
    cut_tokens: int  # beyond max_tokens, left away
    tokens: int
    supervised_tokens: int


def main(arm: str) -> None:
    p = params.load()
    params.entry(p.arms, "arm", arm)
    mixed, base = paths.result("mix", arm), paths.result("base", p.train.model)
    pass_the_gate(arm, mixed / "train.jsonl")
    enough_room(base, p.train.epochs)

    from lima.training import checkpoint, encode, fit, launch  # torch: seconds, spent only once all is in place

    accelerator = launch.accelerator(p.train)
    model, tokenizer, eot_id = launch.starting_point(base, p.train)
    train, held_out = (
        encode.encode(jsonl.read(mixed / name, Example), tokenizer, eot_id=eot_id, max_tokens=p.train.max_tokens)
        for name in ("train.jsonl", "held_out.jsonl")
    )
    tokens = Tokens(
        examples=len(train),
        cut_examples=sum(example.cut > 0 for example in train),
        cut_tokens=sum(example.cut for example in train),
        tokens=sum(len(example.ids) for example in train),
        supervised_tokens=sum(example.supervised for example in train),
    )
    with paths.publish("train", arm) if accelerator.is_main_process else nullcontext() as folder:

        def save(epoch: int, prepared: Any) -> tuple[str, str]:
            name, state = f"epoch-{epoch:02}", accelerator.get_state_dict(prepared)
            if folder is None:
                return name, ""
            plain = accelerator.unwrap_model(prepared)
            return name, checkpoint.save(folder / name, plain, state, tokenizer, eot_id=eot_id)

        metrics = fit.fit(model, train, held_out, recipe=p.train, accelerator=accelerator, save=save)
        if folder is None:
            for _ in metrics:
                pass
            return
        with tracking.start(arm, {"profile": p.profile, **p.train.model_dump(), **tokens.model_dump()}) as run:
            jsonl.write(folder / "run.json", [TrainingRun(run_id=run.id)])
            steps, epochs = follow(arm, metrics, run, p.train.epochs * tokens.tokens)
        jsonl.write(folder / "tokens.json", [tokens])
        jsonl.write(folder / "steps.jsonl", steps)
        jsonl.write(folder / "epochs.jsonl", epochs)
    speed = sum(step.tokens for step in steps) / sum(step.seconds for step in steps)
    print(f"{arm}: loss {epochs[0].train_loss:.3f} → {epochs[-1].train_loss:.3f}, {speed:.0f} tokens/s")


def pass_the_gate(arm: str, train: Path) -> None:
    """Raise unless validate let this very train.jsonl pass."""
    place = paths.result("validate", arm) / "gate.json"
    gate = next(jsonl.read(place, Gate), None)
    if gate is None or not gate.passed:
        raise TrainError(f"{place} is shut: the data of arm {arm} did not pass; run `dvc repro validate@{arm}` and see")
    if not train.is_file() or hashlib.sha256(train.read_bytes()).hexdigest() != gate.train_digest:
        raise TrainError(f"{place} is of another {train} than the one that is there; run `dvc repro validate@{arm}`")


def enough_room(base: Path, epochs: int) -> None:
    """Raise unless the disk can hold a checkpoint an epoch, each as large as the base model."""
    needed = epochs * sum(path.stat().st_size for path in base.glob("*.safetensors"))
    paths.WORK.mkdir(exist_ok=True)
    free = shutil.disk_usage(paths.WORK).free
    if needed > free:
        raise TrainError(
            f"{epochs} checkpoints need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free below "
            f"{paths.WORK.resolve()}; make room, or train fewer epochs"
        )


def follow(
    arm: str, metrics: Iterable[StepMetrics | EpochMetrics], run: tracking.Run, tokens: int
) -> tuple[list[StepMetrics], list[EpochMetrics]]:
    """Show and log what training yields, as it comes."""
    steps: list[StepMetrics] = []
    epochs: list[EpochMetrics] = []
    with tqdm(total=tokens, unit="tok", unit_scale=True, desc=f"train {arm}", disable=None) as bar:
        for metric in metrics:
            if isinstance(metric, StepMetrics):
                steps.append(metric)
                bar.update(metric.tokens)
                bar.set_postfix(epoch=metric.epoch, loss=f"{metric.loss:.3f}")
                run.metrics(metric.model_dump(exclude={"step"}), step=metric.step)
            else:
                epochs.append(metric)
                scores = {"train_loss": metric.train_loss, "held_out_perplexity": metric.held_out_perplexity}
                run.metrics(scores, step=len(steps))
                run.checkpoint(metric.epoch, paths.result("train", arm) / metric.checkpoint, scores)
    return steps, epochs


if __name__ == "__main__":
    command(main)
