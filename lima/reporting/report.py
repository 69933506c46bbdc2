"""Render the report as a self-contained HTML file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import groupby

import numpy as np
from markupsafe import Markup
from ruamel.yaml import YAML

from lima.chat_types import counts
from lima.config import Params
from lima.evaluation.pairwise import OUTCOMES, outcome
from lima.records import Prompt
from lima.redaction import redact
from lima.reporting import (
    accounting,
    adjusted_nets,
    annotator_agreement,
    answers,
    breakdown,
    conclusions,
    dialogues,
    epoch_course,
    figures,
    format_distance,
    metrics,
    paper,
    standings,
    table1,
    templating,
    token_counts,
)
from lima.reporting.ablation_page import Axis
from lima.reporting.caveats import caveats
from lima.reporting.measures import AnnotatorKind, Evaluations
from lima.reporting.metrics import Findings, Metrics, Preferences
from lima.reporting.results import Results
from lima.reporting.token_counts import Count

KIND_NAMES: dict[AnnotatorKind, str] = {
    "people": "people",
    "endpoint": "model judge",
    "recorded": "recorded judgments",
    "rules": "rules",
    "baseline": "baseline rule",
}


@dataclass(frozen=True)
class Column:
    """One contestant's answer to one prompt."""

    contestant: str
    html: Markup
    finish: str
    tokens: int | None


@dataclass(frozen=True)
class SideBySide:
    prompt: Prompt
    turns: list[tuple[str, Markup]]  # role, rendered text
    columns: list[Column]
    verdicts: list[tuple[str, str, str]]  # evaluation, annotator, outcome


def render(p: Params, findings: Findings, figures: Metrics, axes: Sequence[Axis], *, count: Count) -> str:
    """Render the page.

    Args:
        axes: the ablations.
        count: counts tokens.
    """
    results, measured, evaluations = findings.results, findings.measured, findings.evaluations
    adjusted = metrics.adjusted(measured)
    accounts = accounting.accounts(results)
    lengths = {name: token_counts.of_examples(arm.train, count) for name, arm in results.arms.items()}
    rows = [
        row
        for name, arm in results.arms.items()
        for row in table1.of_arm(name, arm.train, follows_paper=p.arms[name].pool == "kept", count=count)
    ]
    rows += table1.of_prompts("dev", results.dev, count=count) + table1.of_prompts("test", results.test, count=count)
    return templating.render(
        "report.html",
        p=p,
        results=results,
        measured=measured,
        attack_rates=findings.attack_rates,
        constraint_rates=findings.constraint_rates,
        figures=figures,
        power=p.report.power,
        adjusted=adjusted,
        evaluations=evaluations,
        conclusions=conclusions.conclusions(p, evaluations, adjusted, findings.response_forms),
        axes=axes,
        forms=findings.response_forms,
        agreements=annotator_agreement.agreements(results, evaluations, p.report),
        groups=annotator_agreement.groups(results, evaluations, p.report),
        rankings=standings.rankings(results, evaluations, p.report),
        accounts=accounts,
        adjusted_nets=adjusted_nets.adjusted_nets(results, evaluations, confidence=p.report.confidence),
        account_total=accounting.total(accounts),
        breakdowns=breakdown.breakdowns(results, evaluations, confidence=p.report.confidence, power=p.report.power),
        kinds=KIND_NAMES,
        single={name: by for name, by in evaluations.items() if p.evaluations[name].task != "pairwise"},
        unusable=[m for by in evaluations.values() for m in by.values() if m.judgments and not m.usability.usable],
        canary_rows=[
            (m, row)
            for by in evaluations.values()
            for m in by.values()
            if m.reliability
            for row in m.reliability.canaries
        ],
        dialogue_tables=dialogues.tables(results, evaluations, confidence=p.report.confidence),
        shown_dialogues=dialogues.shown(results, evaluations, most=p.report.side_by_side),
        likelihoods=findings.likelihoods,
        format_distances=findings.format_distances,
        format_marks=[*format_distance.MARKS, format_distance.PARAGRAPHS],
        format_draws=format_distance.DRAWS,
        counts=counts,
        outcomes=OUTCOMES,
        caveats=caveats(p, results, measured, lengths),
        base=f"{p.train.model}: {p.models[p.train.model]}",
        baselines=list(p.baselines()),
        annotators=annotators_of(evaluations),
        splits=[(split, list(members)) for split, members in groupby(rows, key=lambda row: row.split)],
        paper=paper,
        tokens={name: sum(counts) for name, counts in lengths.items()},
        reasons=list(sum((Counter(s.funnel.dropped) for s in results.sources.values()), Counter[str]())),
        licenses=_licenses(results),
        side_by_side=side_by_side(p, results),
        settings=_settings(p),
        epoch_courses={
            name: epoch_course.describe(p, arm, dev_prompts=len(results.dev)) for name, arm in results.arms.items()
        },
        plots=_plots(results, measured),
    )


def side_by_side(p: Params, results: Results) -> list[SideBySide]:
    """The first responses of all contestants to systematically sampled test prompts."""
    prompts = answers.evenly(results.test, p.report.side_by_side, rng=np.random.default_rng(p.report.seed))
    first = {
        (response.prompt_id, name): response
        for name, responses in results.responses.items()
        for response in responses
        if response.sample == 0
    }
    return [
        SideBySide(
            prompt=prompt,
            turns=[(turn.role, answers.as_html(turn.content)) for turn in prompt.messages],
            columns=[
                Column(name, answers.as_html(response.text), response.finish, response.tokens)
                for name in results.responses
                if (response := first.get((prompt.id, name)))
            ],
            verdicts=[
                (evaluation, annotator, outcome(judgment))
                for evaluation, by_annotator in results.judgments.items()
                for annotator, judgments in by_annotator.items()
                for judgment in judgments
                if judgment.task == "pairwise" and judgment.prompt_id == prompt.id and judgment.sample == 0
            ],
        )
        for prompt in prompts
    ]


def annotators_of(evaluations: Evaluations) -> dict[str, str]:
    """Kinds of the annotators of pairwise evaluations in words, by name: people first, baselines last."""
    kinds = {m.annotator: m.kind for by in evaluations.values() for m in by.values() if m.preference is not None}
    order = list(KIND_NAMES)
    return {name: KIND_NAMES[kinds[name]] for name in sorted(kinds, key=lambda name: order.index(kinds[name]))}


def _licenses(results: Results) -> dict[str, list[tuple[str, str, int, int]]]:
    """For each arm: source, license, number of examples, number of distinct authors."""
    rows: dict[str, list[tuple[str, str, int, int]]] = {}
    for name, arm in results.arms.items():
        origins = [example.provenance for example in arm.train]
        pairs = Counter((origin.source, origin.license) for origin in origins)
        rows[name] = [
            (source, license, examples, len({o.author for o in origins if (o.source, o.license) == (source, license)}))
            for (source, license), examples in sorted(pairs.items())
        ]
    return rows


def _settings(p: Params) -> str:
    out = StringIO()
    yaml = YAML()
    yaml.width = 100
    yaml.dump(p.model_dump(mode="json", by_alias=True), out)
    return redact(out.getvalue(), [])


def _plots(results: Results, measured: Preferences) -> Mapping[str, object]:
    return {
        "funnel": figures.funnel(results),
        "loss": figures.loss(results),
        "epochs": {name: figures.epochs(name, arm) for name, arm in results.arms.items()},
        "preferences": figures.preferences(measured) if measured else None,
    }
