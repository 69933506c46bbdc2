"""Data card of an arm: read its composition, render it as a self-contained HTML file (LIMA §2, Table 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from lima import jsonl, storage
from lima.config import Params
from lima.curation import attribution, hashing
from lima.curation.decontamination import PoolFunnel
from lima.curation.mixture import Card
from lima.records import Credit, Example
from lima.reporting import answers, composition, data_card_figures, results, table1, templating, token_counts
from lima.reporting.composition import Composition
from lima.reporting.dropped_rows import DroppedRows
from lima.reporting.token_counts import Count


@dataclass(frozen=True)
class ShownExample:
    id: str
    turns: Sequence[tuple[str, Markup]]  # role, rendered text
    credit: Credit


def read(p: Params, arm: str, rows: DroppedRows) -> Composition:
    """Read the composition of an arm from the outputs of mix, filter and scrape."""
    folder = storage.result_dir("mix", arm)
    [card] = jsonl.read(folder / "card.json", Card)
    train = list(jsonl.read(folder / "train.jsonl", Example))
    shuffled = sorted(train, key=lambda example: hashing.hash_uniform(p.mix.seed, f"card/{example.id}"))
    return Composition(
        arm=arm,
        pool=card.pool,
        train=train,
        held_out=list(jsonl.read(folder / "held_out.jsonl", Example)),
        sources={source: results.source(source) for source in card.sites},
        offered={funnel.source: funnel.offered for funnel in jsonl.read(folder / "funnel.json", PoolFunnel)},
        sites=card.sites,
        credits=attribution.from_csv((folder / "attribution.csv").read_text(encoding="utf-8")),
        shown=shuffled[: p.report.card.examples],
        losses=rows.of_arm(arm, list(card.sites), filtered=card.pool == "kept"),
    )


def render(p: Params, built: Composition, *, count: Count) -> str:
    """Render the page; `count` counts tokens."""
    lengths = composition.measure(built.train, count)
    credits = dict(zip((example.id for example in built.train), built.credits, strict=False))  # held-out ones follow
    return templating.render(
        "card.html",
        p=p,
        built=built,
        without=p.arms[built.arm].without,
        base=f"{p.train.model}: {p.models[p.train.model]}",
        rows=table1.of_arm(built.arm, built.train, follows_paper=built.pool == "kept", count=count),
        tokens=sum(token_counts.of_examples(built.train, count)),
        dialogues=sum(len(example.messages) > 2 for example in built.train),
        drawn=composition.drawn(built),
        flows=composition.flows(built),
        licenses=composition.licenses(built.credits),
        shown=[_shown(example, credits[example.id]) for example in built.shown],
        cut=lambda text: cut(text, p.report.card.chars),
        funnel=data_card_figures.funnel(composition.flows(built)),
        sites={name: data_card_figures.sites(name, shares) for name, shares in built.sites.items() if len(shares) > 1},
        single=[name for name, shares in built.sites.items() if len(shares) == 1],
        most_sites=data_card_figures.SITES,
        stages=[(stage, list(losses)) for stage, losses in groupby(built.losses, key=lambda loss: loss.stage)],
        lengths=data_card_figures.lengths(lengths),
    )


def cut(text: str, chars: int) -> str:
    """Truncate to at most `chars` characters, the last of them "…"."""
    return text if len(text) <= chars else f"{text[: chars - 1].rstrip()}…"


def _shown(example: Example, credit: Credit) -> ShownExample:
    return ShownExample(example.id, [(turn.role, answers.as_html(turn.content)) for turn in example.messages], credit)
