"""Ranking of all contestants by each annotator: Bradley–Terry strengths from the pairwise evaluations (LIMA §4)."""

from dataclasses import dataclass

import numpy as np

from lima.config.sections import Report
from lima.evaluation.statistics.estimates import NotEstimable, NothingToMeasure
from lima.reporting.measures import KINDS, AnnotatorKind, Evaluations
from lima.reporting.results import Results

POINTS = {"win": 1.0, "tie": 0.5, "lose": 0.0}
PRIOR = 1.0  # virtual ties per compared pair, so that a contestant that always wins has a finite strength


@dataclass(frozen=True)
class Standing:
    contestant: str
    rank: int
    ranks: tuple[int, int]  # interval of the rank
    elo: float
    low: float  # interval of the strength in the unit of elo
    high: float


@dataclass(frozen=True)
class Ranking:
    """Contestants ranked by one annotator."""

    annotator: str
    kind: AnnotatorKind
    usable: bool
    judgments: int
    standings: tuple[Standing, ...]  # best first; empty if there is no ranking
    problem: str  # why there is none; else ""


def rankings(results: Results, evaluations: Evaluations, report: Report) -> list[Ranking]:
    """Rank by every annotator with judgments of at least two pairwise evaluations, people and models first."""
    annotators = {
        m.annotator: m for by in evaluations.values() for m in by.values() if m.task == "pairwise" and m.judgments
    }
    order = sorted(
        annotators,
        key=lambda name: KINDS.index(annotators[name].kind),
    )
    found = [_ranking(name, results, evaluations, report) for name in order]
    return [ranking for ranking in found if ranking is not None]


def _ranking(name: str, results: Results, evaluations: Evaluations, report: Report) -> Ranking | None:
    from lima.evaluation.statistics import ranking  # imports evalica, which takes a second

    measured = [by[name] for by in evaluations.values() if name in by and by[name].task == "pairwise"]
    judgments = [
        judgment for m in measured for judgment in results.judgments[m.evaluation][name] if judgment.value is not None
    ]
    if len({judgment.evaluation for judgment in judgments}) < 2:
        return None
    standings: tuple[Standing, ...] = ()
    problem = ""
    try:
        strengths = ranking.bradley_terry(
            [judgment.contestant for judgment in judgments],
            [judgment.rival or "" for judgment in judgments],
            [POINTS[judgment.value or ""] for judgment in judgments],
            [judgment.prompt_id for judgment in judgments],
            prior=PRIOR,
            confidence=report.confidence,
            resamples=report.bootstrap,
            rng=np.random.default_rng(report.seed),
        )
        standings = tuple(
            Standing(
                contestant=strength.contestant,
                rank=strength.rank,
                ranks=(int(strength.ranks.low), int(strength.ranks.high)),
                elo=strength.elo,
                low=float(strength.interval.low * ranking.ELO),
                high=float(strength.interval.high * ranking.ELO),
            )
            for strength in strengths
        )
    except (NotEstimable, NothingToMeasure) as error:
        problem = str(error)
    usable = all(m.usability.usable for m in measured if m.judgments)
    return Ranking(name, measured[0].kind, usable, len(judgments), standings, problem)
