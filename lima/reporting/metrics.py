"""Metrics of a run for DVC and MLflow: one nested mapping and two tables to plot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lima.config import Params
from lima.config.sections import Report
from lima.evaluation import statistics
from lima.evaluation.attack_rates import AttackRate
from lima.evaluation.constraint_rates import ConstraintRate
from lima.evaluation.pairwise import OUTCOMES
from lima.evaluation.statistics import USABLE, Preference
from lima.records import Judgment, Response
from lima.reporting import measures
from lima.reporting.answer_likelihood import Likelihood
from lima.reporting.format_distance import FormatDistance
from lima.reporting.measures import Evaluations, Measured
from lima.reporting.response_form import ResponseForm
from lima.reporting.results import Results, contestants_of

Metrics = dict[str, dict[str, dict[str, Any]]]  # the JSON below arms, evaluations, …
Preferences = dict[str, dict[str, Preference]]  # pairwise evaluation → annotator
DECIMALS = 6  # of a number in metrics.json


@dataclass(frozen=True)
class Findings:
    """Results of a run and the measures computed from them."""

    results: Results
    evaluations: Evaluations
    response_forms: Mapping[str, ResponseForm]  # by contestant with responses
    attack_rates: Mapping[str, Sequence[AttackRate]]  # contestant → rate of each group of the adversarial suite
    constraint_rates: Mapping[str, ConstraintRate]  # contestant → share of satisfied constraints
    likelihoods: Mapping[str, Likelihood]  # of the recorded answers, by contestant with weights
    format_distances: Sequence[FormatDistance]

    @property
    def measured(self) -> Preferences:
        """The preferences of pairwise evaluations."""
        return measures.preferences_of(self.evaluations)


def preferences(judgments: Mapping[str, Mapping[str, Sequence[Judgment]]], report: Report) -> Preferences:
    """Measure every pairwise evaluation by every annotator with a judgment."""
    return {
        evaluation: {
            annotator: measures.preference(records, report) for annotator, records in by_annotator.items() if records
        }
        for evaluation, by_annotator in judgments.items()
        if any(record.task == "pairwise" for records in by_annotator.values() for record in records)
    }


def adjusted(measured: Preferences) -> dict[tuple[str, str], float]:
    """p-values by (comparison, annotator), Holm-corrected over the comparisons of each annotator.

    Comparisons without a usable verdict have no p-value and are not part of the correction.
    """
    raw: dict[str, dict[str, float]] = {}
    for comparison, by_annotator in measured.items():
        for annotator, value in by_annotator.items():
            if value.p_value is not None:
                raw.setdefault(annotator, {})[comparison] = value.p_value
    return {
        (comparison, annotator): p_value
        for annotator, p_values in raw.items()
        for comparison, p_value in statistics.holm(p_values).items()
    }


def ended(responses: Sequence[Response]) -> float:
    """Share of responses that ended with an end token and were not truncated."""
    return sum(response.finish == "stop" for response in responses) / len(responses)


def metrics(p: Params, findings: Findings) -> Metrics:
    """The content of metrics.json."""
    return {
        "arms": {arm: _arm(p, findings.results, arm) for arm in findings.results.arms},
        "evaluations": {
            name: {annotator: _evaluated(m) for annotator, m in by_annotator.items() if m.judgments}
            for name, by_annotator in findings.evaluations.items()
        },
        "adversarial": {
            name: {rate.group: None if rate.share is None else rounded(rate.share) for rate in groups}
            for name, groups in findings.attack_rates.items()
        },
        "forms": {name: {"kept": rounded(rate.share)} for name, rate in findings.constraint_rates.items()},
        "likelihood": {name: _likelihood(row) for name, row in findings.likelihoods.items()},
        "format_distance": {
            arm: {row.contestant: {"marks": rounded(row.marks), "words": rounded(row.words)} for row in rows}
            for arm, rows in groupby(findings.format_distances, key=lambda row: row.arm)
        },
        "data": {
            name: {"offered": source.funnel.offered, "kept": source.funnel.kept}
            for name, source in findings.results.sources.items()
        },
    }


def run_metrics(p: Params, figures: Metrics, arm: str) -> dict[str, float]:
    """Metrics of an arm, and the net and the scores of each evaluation of it as the contestant, under flat names.

    Missing values, such as a net without a usable verdict, are left out.
    """
    values = {f"report.{name}": value for name, value in figures["arms"][arm].items()}
    for name, evaluation in p.evaluations.items():
        if evaluation.contestant not in contestants_of(p, arm):
            continue
        for annotator, figure in figures["evaluations"].get(name, {}).items():
            if evaluation.task == "pairwise":
                values[f"net.{name}.{annotator}"] = figure["net"]
            else:
                scores = figure.get(evaluation.contestant, {})
                values |= {f"score.{name}.{annotator}.{key}": value for key, value in scores.items()}
    for name in contestants_of(p, arm):
        values |= {f"adversarial.{group}": share for group, share in figures["adversarial"].get(name, {}).items()}
        values |= {f"forms.{key}": share for key, share in figures["forms"].get(name, {}).items()}
        values |= {f"likelihood.{key}": value for key, value in figures["likelihood"].get(name, {}).items()}
        distances = figures["format_distance"].get(arm, {}).get(name, {})
        values |= {f"format_distance.{key}": value for key, value in distances.items()}
    return {name: value for name, value in values.items() if value is not None}


def epoch_rows(results: Results) -> Iterator[tuple[object, ...]]:
    """Rows of plots/epochs.csv; the dev columns are empty for epochs outside select's range."""
    yield "arm", "epoch", "train_loss", "held_out_perplexity", "dev_score", "ended"
    for name, arm in results.arms.items():
        for epoch in arm.epochs:
            score = arm.scores.get(epoch.epoch)
            dev = (rounded(score.score), rounded(score.ended)) if score else ("", "")
            yield name, epoch.epoch, rounded(epoch.train_loss), rounded(epoch.held_out_perplexity), *dev


def preference_rows(measured: Preferences) -> Iterator[tuple[object, ...]]:
    """Rows of plots/preferences.csv."""
    yield "comparison", "annotator", "outcome", "share"
    for comparison, by_annotator in measured.items():
        for annotator, value in by_annotator.items():
            for outcome in OUTCOMES:
                yield comparison, annotator, outcome, rounded(value.shares[outcome])


def rounded(value: float) -> float:
    return round(value, DECIMALS)


def _arm(p: Params, results: Results, arm: str) -> dict[str, object]:
    epoch, score = results.chosen_epoch(arm), results.arms[arm].scores[results.arms[arm].chosen]
    figures: dict[str, object] = {
        "train_loss": rounded(epoch.train_loss),
        "held_out_perplexity": rounded(epoch.held_out_perplexity),
        "chosen_epoch": epoch.epoch,
        "dev_score": rounded(score.score),
    }
    responses = [response for name in contestants_of(p, arm) for response in results.responses[name]]
    return figures | ({"ended": rounded(ended(responses))} if responses else {})


def _likelihood(row: Likelihood) -> dict[str, float]:
    """Log-likelihood per token, perplexity, and the gain over the base model if that has scored the same tokens."""
    figures = {"per_token": rounded(row.per_token), "perplexity": rounded(row.perplexity)}
    return figures | ({"gain": rounded(row.difference.value)} if row.difference else {})


def _evaluated(measured: Measured) -> dict[str, object]:
    """The figures of an annotator: of a pairwise evaluation its preference, else the scores by contestant."""
    if measured.preference is not None:
        return _preference(measured.preference)
    sides: dict[str, dict[str, float]] = {}
    for score in measured.scores:
        for name, estimate in (*score.sides.items(), ("difference", score.difference)):
            if estimate is not None:
                sides.setdefault(name, {})[score.key] = rounded(estimate.value)
    return dict(sides)


def _preference(value: Preference) -> dict[str, object]:
    return {
        **{outcome: rounded(value.shares[outcome]) for outcome in USABLE},
        "net": None if value.net is None else rounded(value.net),
        "low": None if value.interval is None else rounded(value.interval.low),
        "high": None if value.interval is None else rounded(value.interval.high),
        "n": value.n,
        "usable": value.usable,
    }
