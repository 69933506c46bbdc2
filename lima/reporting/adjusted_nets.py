"""Net preferences at equal length, and of people joined with a model (LIMA §4; not in the paper)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lima.evaluation.reliability import Position
from lima.evaluation.statistics.estimates import Interval, NotEstimable
from lima.evaluation.statistics.prediction_powered import prediction_powered_mean
from lima.evaluation.statistics.preference import POINTS
from lima.records import Judgment
from lima.reporting.measures import Evaluations, Measured, response_lengths
from lima.reporting.results import Results

NETS = Interval(-1.0, 1.0)  # range of win − lose


@dataclass(frozen=True)
class AdjustedNet:
    """An adjusted net preference of one evaluation, −1 to 1."""

    evaluation: str
    annotator: str  # of a joined estimate "PEOPLE and MODEL"
    adjustment: str  # in words
    raw: float  # net without the adjustment, of the usable judgments; of a joined estimate that of people
    net: float | None  # None if it cannot be estimated
    interval: Interval | None
    note: str  # number of prompts, or why there is no estimate


def adjusted_nets(results: Results, evaluations: Evaluations, *, confidence: float) -> list[AdjustedNet]:
    """Adjusted nets by people and usable models, in the order of the evaluations."""
    lengths = response_lengths(results)
    rows: list[AdjustedNet] = []
    for name, by_annotator in evaluations.items():
        judgments = {
            annotator: [judgment for judgment in results.judgments[name][annotator] if judgment.value is not None]
            for annotator, m in by_annotator.items()
            if m.task == "pairwise" and m.is_authority
        }
        judgments = {annotator: records for annotator, records in judgments.items() if records}
        rows += [_at_equal_length(name, who, records, lengths, confidence) for who, records in judgments.items()]
        rows += _joined(name, judgments, by_annotator, confidence)
    return rows


def _at_equal_length(
    name: str,
    annotator: str,
    judgments: Sequence[Judgment],
    lengths: Mapping[tuple[str, Position], int],
    confidence: float,
) -> AdjustedNet:
    from lima.evaluation.statistics import length_control  # imports statsmodels, which takes a second

    values = [float(POINTS.get(judgment.value or "", 0)) for judgment in judgments]
    differences = [
        float(lengths[judgment.contestant, place] - lengths[judgment.rival or "", place])
        for judgment in judgments
        for place in [(judgment.prompt_id, judgment.sample, judgment.turn)]
    ]
    prompts = [judgment.prompt_id for judgment in judgments]
    raw, label = float(np.mean(values)), "at equal length"
    try:
        found = length_control.length_controlled(values, differences, prompts, confidence=confidence)
    except NotEstimable as error:
        return AdjustedNet(name, annotator, label, raw, None, None, str(error))
    return AdjustedNet(name, annotator, label, raw, found.net, found.interval, f"{found.prompts:,} prompts")


def _joined(
    name: str,
    judgments: Mapping[str, Sequence[Judgment]],
    by_annotator: Mapping[str, Measured],
    confidence: float,
) -> Iterator[AdjustedNet]:
    """People's net with the help of each model's judgments of the other prompts (prediction-powered inference)."""
    nets = {annotator: _by_prompt(records) for annotator, records in judgments.items()}
    for people in (annotator for annotator in nets if by_annotator[annotator].kind == "people"):
        for model in (annotator for annotator in nets if by_annotator[annotator].kind in ("endpoint", "recorded")):
            both = sorted(nets[people].keys() & nets[model].keys())
            others = sorted(nets[model].keys() - nets[people].keys())
            raw = float(np.mean(list(nets[people].values())))
            label = "people, joined with the model"
            try:
                found = prediction_powered_mean(
                    np.array([nets[people][prompt] for prompt in both], float),
                    np.array([nets[model][prompt] for prompt in both], float),
                    np.array([nets[model][prompt] for prompt in others], float),
                    space=NETS,
                    confidence=confidence,
                )
            except NotEstimable as error:
                yield AdjustedNet(name, f"{people} and {model}", label, raw, None, None, str(error))
                continue
            note = f"{found.labelled:,} prompts by both, {found.unlabelled:,} by the model alone"
            yield AdjustedNet(name, f"{people} and {model}", label, raw, found.value, found.interval, note)


def _by_prompt(judgments: Sequence[Judgment]) -> dict[str, float]:
    """Mean of win (1), tie (0) and loss (−1) of each prompt."""
    values: dict[str, list[int]] = {}
    for judgment in judgments:
        values.setdefault(judgment.prompt_id, []).append(POINTS.get(judgment.value or "", 0))
    return {prompt: float(np.mean(points)) for prompt, points in values.items()}
