"""Render the data card of an arm as a self-contained HTML file (LIMA §2, Table 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from lima.config import Params
from lima.records import Credit, Example
from lima.reporting import answers, composition, data_card_figures, table1, templating, token_counts
from lima.reporting.composition import Composition
from lima.reporting.token_counts import Count


@dataclass(frozen=True)
class ShownExample:
    id: str
    turns: Sequence[tuple[str, Markup]]  # role, rendered text
    credit: Credit


def render(p: Params, built: Composition, *, count: Count) -> str:
    """Render the page; `count` counts tokens."""
    lengths = composition.measure(built.train, count)
    credits = {credit.id: credit for credit in built.credits}
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
        cut=lambda text: cut(text, p.mix.card.chars),
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
