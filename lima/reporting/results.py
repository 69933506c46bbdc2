"""Read the outputs of all stages."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from lima import jsonl, storage
from lima.config import Params
from lima.config.entries import ArmContestant
from lima.errors import LimaError
from lima.evaluation.canaries import CanaryResult
from lima.records import (
    AnswerLikelihood,
    EpochMetrics,
    EpochScore,
    Example,
    Funnel,
    Judgment,
    Prompt,
    Record,
    Response,
    StepMetrics,
    Unanswered,
    ValidationResult,
)

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=Record)


class MissingResult(LimaError):
    """A stage's output is missing or invalid. The message names the stage."""


class ScrapeResults(BaseModel):
    """Counts of scrape for one source."""

    model_config = ConfigDict(frozen=True)

    rows: NonNegativeInt
    candidates: NonNegativeInt
    dropped: dict[str, NonNegativeInt]


class SelectedEpoch(BaseModel):
    model_config = ConfigDict(frozen=True)

    epoch: PositiveInt


@dataclass(frozen=True)
class SourceResults:
    scraped: ScrapeResults
    funnel: Funnel


@dataclass(frozen=True)
class ArmResults:
    train: list[Example]
    held_out: list[Example]
    gate: ValidationResult
    steps: list[StepMetrics]
    epochs: list[EpochMetrics]
    scores: dict[int, EpochScore]  # by epoch, for the epochs that select compared
    chosen: int  # epoch


@dataclass(frozen=True)
class Results:
    sources: dict[str, SourceResults]
    arms: dict[str, ArmResults]
    dev: list[Prompt]
    test: list[Prompt]
    responses: dict[str, list[Response]]  # by contestant, to the test prompts
    adversarial: list[Prompt]
    adversarial_responses: dict[str, list[Response]]  # by contestant, to the adversarial prompts
    dialogues: list[Prompt]  # scripts
    dialogue_responses: dict[str, list[Response]]  # by contestant, in the order of scripts and turns
    likelihoods: dict[str, list[AnswerLikelihood]]  # of the recorded answers, by contestant with weights
    unanswered: dict[str, list[Unanswered]]  # by contestant, to all sets
    judgments: dict[str, dict[str, list[Judgment]]]  # by evaluation and annotator
    canaries: dict[str, dict[str, list[CanaryResult]]]  # by evaluation and annotator; of models only
    preferences: dict[str, dict[str, list[Judgment]]]  # between paired live conversations; of people only

    def every_response(self) -> dict[str, list[Response]]:
        """All responses of each contestant: to the test prompts, the adversarial ones and the scripts."""
        return {
            name: [*answers, *self.adversarial_responses.get(name, []), *self.dialogue_responses.get(name, [])]
            for name, answers in self.responses.items()
        }

    def chosen_epoch(self, arm: str) -> EpochMetrics:
        """Training metrics of the selected epoch."""
        chosen = self.arms[arm].chosen
        for epoch in self.arms[arm].epochs:
            if epoch.epoch == chosen:
                return epoch
        raise MissingResult(f"selected epoch {chosen} of arm {arm} is missing in epochs.jsonl; run train@{arm} again")


def read(p: Params) -> Results:
    """Read all results. Raises MissingResult."""
    test = list(jsonl.read(storage.result_dir("prompts") / "test.jsonl", Prompt))
    adversarial = list(jsonl.read(storage.result_dir("prompts") / "adversarial.jsonl", Prompt))
    dialogues = list(jsonl.read(storage.result_dir("prompts") / "dialogues.jsonl", Prompt))
    return Results(
        sources={name: source(name) for name in p.sources},
        arms={name: _arm(name) for name in p.arms},
        dev=list(jsonl.read(storage.result_dir("prompts") / "dev.jsonl", Prompt)),
        test=test,
        responses={name: _responses(name, "test", test) for name in p.contestants},
        adversarial=adversarial,
        adversarial_responses={name: _responses(name, "adversarial", adversarial) for name in p.contestants},
        dialogues=dialogues,
        dialogue_responses={name: _responses(name, "dialogues", dialogues) for name in p.contestants},
        likelihoods={name: scored for name in p.contestants if (scored := _likelihoods(name))},
        unanswered={
            name: list(jsonl.read(storage.result_dir("sample", name) / "unanswered.jsonl", Unanswered))
            for name in p.contestants
        },
        judgments=_judged(p, "judgments.jsonl", Judgment),
        canaries=_judged(p, "canaries.jsonl", CanaryResult),
        preferences=_judged(p, "preferences.jsonl", Judgment, prompts="conversations"),
    )


def _judged(p: Params, file: str, kind: type[R], *, prompts: str = "") -> dict[str, dict[str, list[R]]]:
    """Records of a file of the stage judge, by evaluation and annotator.

    Args:
        prompts: of the evaluations whose file is read; "" for all.
    """
    return {
        name: {
            annotator: list(jsonl.read(storage.result_dir("judge", name) / annotator / file, kind))
            for annotator in p.panels[evaluation.panel]
        }
        for name, evaluation in p.evaluations.items()
        if prompts in ("", evaluation.prompts)
    }


def _responses(contestant: str, file: str, prompts: Sequence[Prompt]) -> list[Response]:
    ids = {prompt.id for prompt in prompts}
    responses = jsonl.read(storage.responses(contestant, file), Response)
    return [response for response in responses if response.prompt_id in ids]


def _likelihoods(contestant: str) -> list[AnswerLikelihood]:
    return list(jsonl.read(storage.result_dir("sample", contestant) / "likelihood.jsonl", AnswerLikelihood))


def run_id(arm: str) -> str:
    """The id of the MLflow run of an arm."""
    path = storage.result_dir("train", arm) / "run.json"
    return str(json.loads(_text(path))["run_id"])


def contestants_of(p: Params, arm: str) -> list[str]:
    """Names of the contestants that are checkpoints of an arm."""
    return [name for name, c in p.contestants.items() if isinstance(c, ArmContestant) and c.arm == arm]


def source(name: str) -> SourceResults:
    """Counts of scrape and filter for one source."""
    path = storage.result_dir("scrape", name) / "stats.json"
    return SourceResults(
        _checked(path, ScrapeResults), _checked(storage.result_dir("filter", name) / "funnel.json", Funnel)
    )


def _arm(name: str) -> ArmResults:
    mixed, trained, selected = (storage.result_dir(stage, name) for stage in ("mix", "train", "select"))
    return ArmResults(
        train=list(jsonl.read(mixed / "train.jsonl", Example)),
        held_out=list(jsonl.read(mixed / "held_out.jsonl", Example)),
        gate=_checked(storage.result_dir("validate", name) / "gate.json", ValidationResult),
        steps=list(jsonl.read(trained / "steps.jsonl", StepMetrics)),
        epochs=list(jsonl.read(trained / "epochs.jsonl", EpochMetrics)),
        scores={score.epoch: score for score in jsonl.read(selected / "scores.jsonl", EpochScore)},
        chosen=_checked(selected / "chosen.json", SelectedEpoch).epoch,
    )


def _checked(path: Path, kind: type[M]) -> M:
    try:
        return kind.model_validate_json(_text(path))
    except ValidationError as error:
        reason = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise MissingResult(f"invalid result {path}: {reason}; run the stage that writes it again") from error


def _text(path: Path) -> str:
    if not path.exists():
        raise MissingResult(f"{path} not found; run `dvc repro {path.parent.parent.name}` first")
    return path.read_text(encoding="utf-8")
