"""The figures of a run as DVC and MLflow take them: one nested mapping, and two tables to plot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lima.config import Params
from lima.config.sections import Report
from lima.evaluation import statistics
from lima.evaluation.attack_rates import AttackRate
from lima.evaluation.constraint_rates import ConstraintRate
from lima.evaluation.statistics import OUTCOMES, USABLE, Preference
from lima.records import Response, Verdict
from lima.reporting.results import Results, contestants_of

Metrics = dict[str, dict[str, dict[str, Any]]]  # the JSON below arms, comparisons, adversarial, forms and data
Preferences = dict[str, dict[str, Preference]]  # comparison → annotator
DECIMALS = 6  # of a figure in metrics.json: more than any of them can bear


@dataclass(frozen=True)
class Findings:
    """What a run wrote, and what is to be said of it."""

    results: Results
    measured: Preferences
    met: Mapping[str, Sequence[AttackRate]]  # contestant → outcomes of each group of the adversarial suite
    formed: Mapping[str, ConstraintRate]  # contestant → how often it kept a prescribed form


def preferences(verdicts: Mapping[str, Sequence[Verdict]], report: Report) -> Preferences:
    """Every comparison by every annotator, each from a fresh generator: a new comparison changes no other."""
    return {
        comparison: {
            annotator: statistics.measure_preference(
                [verdict for verdict in judged if verdict.annotator == annotator],
                confidence=report.confidence,
                resamples=report.bootstrap,
                power=report.power,
                rng=np.random.default_rng(report.seed),
            )
            for annotator in dict.fromkeys(verdict.annotator for verdict in judged)
        }
        for comparison, judged in verdicts.items()
    }


def adjusted(measured: Preferences) -> dict[tuple[str, str], float]:
    """p-values by (comparison, annotator), Holm-corrected over the comparisons of each annotator.

    A comparison without a usable verdict has no p-value and is not tested, so it is not part of the correction.
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
    """Share of responses that ended by themselves, and were not cut at the token limit."""
    return sum(response.finish == "stop" for response in responses) / len(responses)


def metrics(p: Params, found: Findings) -> Metrics:
    return {
        "arms": {arm: _arm(p, found.results, arm) for arm in found.results.arms},
        "comparisons": {
            comparison: {annotator: _preference(value) for annotator, value in by_annotator.items()}
            for comparison, by_annotator in found.measured.items()
        },
        "adversarial": {
            name: {of.group: None if of.share is None else rounded(of.share) for of in groups}
            for name, groups in found.met.items()
        },
        "forms": {name: {"kept": rounded(of.share)} for name, of in found.formed.items()},
        "data": {
            name: {"offered": source.funnel.offered, "kept": source.funnel.kept}
            for name, source in found.results.sources.items()
        },
    }


def of_run(p: Params, figures: Metrics, arm: str) -> dict[str, float]:
    """An arm's figures, and the net of each comparison it stands first in, under flat names.

    A figure that does not exist, such as a net without a usable verdict, is left out.
    """
    mine = {f"report.{name}": value for name, value in figures["arms"][arm].items()}
    for name in (name for name, c in p.comparisons.items() if c.contestant in contestants_of(p, arm)):
        mine |= {f"net.{name}.{annotator}": of["net"] for annotator, of in figures["comparisons"][name].items()}
    for name in contestants_of(p, arm):
        mine |= {f"adversarial.{group}": share for group, share in figures["adversarial"].get(name, {}).items()}
        mine |= {f"forms.{key}": share for key, share in figures["forms"].get(name, {}).items()}
    return {name: value for name, value in mine.items() if value is not None}


def epoch_rows(results: Results) -> Iterator[tuple[object, ...]]:
    """plots/epochs.csv; the dev figures are empty for epochs outside select's range."""
    yield "arm", "epoch", "train_loss", "held_out_perplexity", "dev_score", "ended"
    for name, arm in results.arms.items():
        for epoch in arm.epochs:
            score = arm.scores.get(epoch.epoch)
            dev = (rounded(score.score), rounded(score.ended)) if score else ("", "")
            yield name, epoch.epoch, rounded(epoch.train_loss), rounded(epoch.held_out_perplexity), *dev


def preference_rows(measured: Preferences) -> Iterator[tuple[object, ...]]:
    """plots/preferences.csv."""
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
    answered = [response for name in contestants_of(p, arm) for response in results.responses[name]]
    return figures | ({"ended": rounded(ended(answered))} if answered else {})


def _preference(value: Preference) -> dict[str, object]:
    return {
        **{outcome: rounded(value.shares[outcome]) for outcome in USABLE},
        "net": None if value.net is None else rounded(value.net),
        "low": None if value.interval is None else rounded(value.interval.low),
        "high": None if value.interval is None else rounded(value.interval.high),
        "n": value.n,
        "usable": value.usable,
    }
