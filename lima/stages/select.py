"""Select an arm's best checkpoint on the dev prompts (LIMA §3): `python -m lima.stages.select ARM`."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from lima import config, jsonl, mlflow_runs, storage
from lima.config import Params
from lima.config.entries import BaselineAnnotator, Evaluation
from lima.errors import LimaError, run_command
from lima.evaluation import items, pairwise
from lima.evaluation.annotators import annotate
from lima.evaluation.checkpoint_selection import SelectedCheckpoint, select_best
from lima.inference.generation_cache import CODE, BatchCache, files_digest
from lima.records import EpochMetrics, EpochScore, Judgment, Prompt, Response, Unanswered


@storage.alone("select")
def main(arm: str) -> None:
    params = config.load()
    config.entry(params.arms, "arm", arm)
    trained = storage.result_dir("train", arm)
    prompts = list(jsonl.read(storage.result_dir("prompts") / "dev.jsonl", Prompt))
    epochs = range(params.select.first_epoch, params.select.last_epoch + 1)
    candidates = [m for m in jsonl.read(trained / "epochs.jsonl", EpochMetrics) if m.epoch in epochs]
    if [metrics.epoch for metrics in candidates] != list(epochs):
        raise LimaError(
            f"{trained}/epochs.jsonl lacks some of the epochs {epochs[0]} to {epochs[-1]}; run `dvc repro train@{arm}`"
        )
    folder, kept = storage.result_dir("base", params.train.model), storage.kept_dir("select", arm)
    used: set[Path] = set()
    base = answers(folder, params.train.model, files_digest(folder), prompts, params, kept, used)
    responses, scores = list(base), []
    for metrics in candidates:
        name = f"{arm}/{metrics.checkpoint}"
        generated = answers(trained / metrics.checkpoint, name, metrics.digest, prompts, params, kept, used)
        responses += generated
        judgments = compared(arm, prompts, generated, base, params)
        require_usable_judgment(annotator_name(params), metrics.checkpoint, judgments)
        scores.append(score(metrics, generated, judgments))
    winner = select_best(scores)
    chosen = SelectedCheckpoint(
        arm=arm,
        epoch=winner.epoch,
        checkpoint=str(trained / winner.checkpoint),
        digest=winner.digest,
        why=f"win − lose of {winner.score:+.3f} against the untuned base on {len(prompts)} dev prompts by "
        f"{annotator_name(params)}; the best of epochs {epochs[0]} to {epochs[-1]}, the earliest of equals",
    )
    with storage.publish("select", arm) as folder:
        jsonl.write(folder / "scores.jsonl", scores)
        jsonl.write(folder / "responses.jsonl", responses)
        jsonl.write(folder / "chosen.json", [chosen])
    discard_unused(kept, used)
    mlflow_runs.log_selection(arm)
    print(f"{arm}: epoch {chosen.epoch}, {chosen.why}")


def answers(
    folder: Path, name: str, weights: str, prompts: list[Prompt], params: Params, kept: Path, used: set[Path]
) -> list[Response]:
    """Return a checkpoint's responses to the dev prompts, from a cache folder if an earlier run or arm wrote them.

    Args:
        folder: of the checkpoint.
        name: contestant name in the responses.
        weights: digest of the checkpoint; part of the cache key with prompts, decoding and code.
        prompts: the dev prompts.
        params: all parameters.
        kept: the arm's cache folder, in that of all arms.
        used: the file of this checkpoint is added.
    """
    decoding = params.select.decoding
    depends = [
        name,
        weights,
        files_digest(CODE),
        decoding.model_dump_json(),
        *(q.model_dump_json() for q in prompts),
    ]
    path = kept / f"{hashlib.sha256(json.dumps(depends).encode()).hexdigest()}.jsonl"
    used.add(path)
    for finished in kept.parent.glob(f"*/{path.name}"):  # of this arm, or of the base in the folder of another arm
        responses = list(jsonl.read(finished, Response))
        jsonl.write(path, responses)
        return responses
    from lima.inference import generate, model  # imported here, since loading torch and transformers takes seconds
    from lima.training import library_output

    library_output.reduce()
    loaded = model.load(folder, precision=decoding.precision)
    batches = BatchCache(kept / "batches", depends)
    generated = generate.generate(loaded, prompts, contestant=name, samples=1, decoding=decoding, batches=batches)
    outcomes = list(tqdm(generated, total=len(prompts), desc=name, disable=None))
    for missing in [outcome for outcome in outcomes if isinstance(outcome, Unanswered)]:
        print(f"{name}: no response to {missing.prompt_id}: {missing.detail}")
    jsonl.write(path, [outcome for outcome in outcomes if isinstance(outcome, Response)])
    return list(jsonl.read(path, Response))


def discard_unused(kept: Path, used: set[Path]) -> None:
    """Remove other files of the cache folder, so that another annotator or template needs no new generation."""
    for path in kept.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path not in used:
            path.unlink()


def annotator_name(params: Params) -> str:
    """The rule of a baseline, the model of an endpoint."""
    annotator = params.select.annotator
    return annotator.rule if isinstance(annotator, BaselineAnnotator) else annotator.model


def compared(
    arm: str, prompts: list[Prompt], generated: list[Response], base: list[Response], params: Params
) -> list[Judgment]:
    contestant, rival = generated[0].contestant, base[0].contestant
    evaluation = Evaluation(
        task="pairwise",
        contestant=contestant,
        rival=rival,
        prompts="test",
        panel="select",
        template=params.select.template,
    )
    with tqdm(total=len(prompts), desc=f"{annotator_name(params)} judges", disable=None) as bar:
        return annotate(
            items.collect(prompts, {contestant: generated, rival: base}, evaluation).items,
            evaluation=evaluation,
            key=f"select/{arm}",
            name=annotator_name(params),
            annotator=params.select.annotator,
            judge=params.judge,
            annotations=storage.annotations(f"select-{arm}"),
            done=bar.update,
        )


def require_usable_judgment(annotator: str, checkpoint: str, judgments: list[Judgment]) -> None:
    """Raise LimaError if an annotator has no usable judgment of a checkpoint, since its score would be a false 0."""
    if all(judgment.value is None for judgment in judgments):
        outcomes = Counter[str](pairwise.outcome(judgment) for judgment in judgments)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        raise LimaError(
            f"annotator {annotator} gave no usable judgment of {checkpoint} ({counts}), so it cannot select an epoch; "
            "choose another annotator with select.annotator in params.yaml, or correct it"
        )


def score(metrics: EpochMetrics, generated: list[Response], judgments: list[Judgment]) -> EpochScore:
    """Compute shares of all prompts; judgments without a value count for neither side."""
    outcomes, n = [judgment.value for judgment in judgments], len(judgments)
    win, tie, lose = (outcomes.count(outcome) for outcome in ("win", "tie", "lose"))
    return EpochScore(
        epoch=metrics.epoch,
        checkpoint=metrics.checkpoint,
        digest=metrics.digest,
        held_out_perplexity=metrics.held_out_perplexity,
        ended=sum(response.finish == "stop" for response in generated) / len(generated),
        win=win / n,
        tie=tie / n,
        lose=lose / n,
        score=(win - lose) / n,
    )


if __name__ == "__main__":
    run_command(main)
