"""Choose an arm's checkpoint by its answers to the dev prompts: `python -m lima.stages.select ARM`."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from lima import config, inference, jsonl, storage
from lima.config import Params
from lima.errors import LimaError, run_command
from lima.evaluation.annotators import annotate, pairs
from lima.evaluation.checkpoint_selection import SelectedCheckpoint, select_best
from lima.records import EpochMetrics, EpochScore, Prompt, Response, Verdict

GENERATION = Path(inference.__file__).parent


@storage.alone("select")
def main(arm: str) -> None:
    p = config.load()
    config.entry(p.arms, "arm", arm)
    trained = storage.result_dir("train", arm)
    prompts = list(jsonl.read(storage.result_dir("prompts") / "dev.jsonl", Prompt))
    epochs = range(p.select.first_epoch, p.select.last_epoch + 1)
    candidates = [m for m in jsonl.read(trained / "epochs.jsonl", EpochMetrics) if m.epoch in epochs]
    if [metrics.epoch for metrics in candidates] != list(epochs):
        raise LimaError(
            f"{trained}/epochs.jsonl lacks some of the epochs {epochs[0]} to {epochs[-1]}; train {arm} again"
        )
    folder, kept = storage.result_dir("base", p.train.model), storage.kept_dir("select", arm)
    base = answers(folder, p.train.model, files_digest(folder), prompts, p, kept)
    responses, scores = list(base), []
    for metrics in candidates:
        name = f"{arm}/{metrics.checkpoint}"
        given = answers(trained / metrics.checkpoint, name, metrics.digest, prompts, p, kept)
        responses += given
        said = compared(arm, prompts, given, base, p)
        refuse_worthless(p.select.annotator, metrics.checkpoint, said)
        scores.append(score(metrics, given, said))
    winner = select_best(scores)
    chosen = SelectedCheckpoint(
        arm=arm,
        epoch=winner.epoch,
        checkpoint=str(trained / winner.checkpoint),
        digest=winner.digest,
        why=f"win − lose of {winner.score:+.3f} against the untuned base on {len(prompts)} dev prompts, says "
        f"{p.select.annotator}; the best of epochs {epochs[0]} to {epochs[-1]}, the earliest of equals",
    )
    with storage.publish("select", arm) as folder:
        jsonl.write(folder / "scores.jsonl", scores)
        jsonl.write(folder / "responses.jsonl", responses)
        jsonl.write(folder / "chosen.json", [chosen])
    shutil.rmtree(kept, ignore_errors=True)
    show_in_mlflow(trained, scores)
    print(f"{arm}: epoch {chosen.epoch}, {chosen.why}")


def answers(folder: Path, name: str, weights: str, prompts: list[Prompt], p: Params, kept: Path) -> list[Response]:
    """A checkpoint's answers to the dev prompts; those of an earlier run that did not finish are read from `kept`.

    Args:
        weights: digest of the checkpoint; with prompts, decoding and code it decides what the answers are.
    """
    decoding = p.select.decoding
    depends = [
        name,
        weights,
        files_digest(GENERATION),
        decoding.model_dump_json(),
        *(q.model_dump_json() for q in prompts),
    ]
    path = kept / f"{hashlib.sha256(json.dumps(depends).encode()).hexdigest()}.jsonl"
    if path.exists():
        return list(jsonl.read(path, Response))
    from lima.inference import generate, model  # torch and transformers: seconds, spent only once all is in place

    loaded = model.load(folder, precision=decoding.precision)
    given = generate.generate(loaded, prompts, contestant=name, samples=1, decoding=decoding)
    jsonl.write(path, tqdm(given, total=len(prompts), desc=name, disable=None))
    return list(jsonl.read(path, Response))


def files_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files in a folder, hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.glob("*") if path.is_file()):
        with path.open("rb") as content:
            digest.update(f"{path.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def compared(arm: str, prompts: list[Prompt], given: list[Response], base: list[Response], p: Params) -> list[Verdict]:
    name = p.select.annotator
    with tqdm(total=len(prompts), desc=f"{name} judges", disable=None) as bar:
        return annotate(
            pairs(prompts, given, base),
            comparison=f"select/{arm}",
            name=name,
            annotator=config.entry(p.annotators, "annotator", name),
            judge=p.judge,
            cache_path=storage.REPLIES,
            done=bar.update,
        )


def refuse_worthless(annotator: str, checkpoint: str, said: list[Verdict]) -> None:
    """Raise LimaError where an annotator gave no usable verdict on a checkpoint: its score would be 0 by accident."""
    outcomes = Counter[str](verdict.outcome for verdict in said)
    if not any(outcomes[outcome] for outcome in ("win", "tie", "lose")):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        raise LimaError(
            f"annotator {annotator} gave no usable verdict on {checkpoint} ({counts}), so no epoch can be selected by "
            "it; name another annotator in select.annotator of params.yaml, or mend this one"
        )


def score(metrics: EpochMetrics, given: list[Response], said: list[Verdict]) -> EpochScore:
    """Shares of all prompts: what is inconsistent or unparsed counts for neither side."""
    outcomes, n = [verdict.outcome for verdict in said], len(said)
    win, tie, lose = (outcomes.count(outcome) for outcome in ("win", "tie", "lose"))
    return EpochScore(
        epoch=metrics.epoch,
        checkpoint=metrics.checkpoint,
        digest=metrics.digest,
        held_out_perplexity=metrics.held_out_perplexity,
        ended=sum(response.finish == "stop" for response in given) / len(given),
        win=win / n,
        tie=tie / n,
        lose=lose / n,
        score=(win - lose) / n,
    )


def show_in_mlflow(trained: Path, scores: list[EpochScore]) -> None:
    """Every epoch's scores, beside the perplexity that train logged with the checkpoint."""
    from lima import tracking  # imports mlflow: seconds

    with tracking.join(json.loads((trained / "run.json").read_text())["run_id"]) as run:
        for epoch in scores:
            shares = epoch.model_dump(include={"ended", "win", "tie", "lose", "score"})
            run.checkpoint(epoch.epoch, trained / epoch.checkpoint, shares)


if __name__ == "__main__":
    run_command(main)
