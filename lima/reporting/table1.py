"""Table 1 of the built data, compared with the paper's (LIMA §2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean

from lima.records import Example, Prompt
from lima.reporting import paper
from lima.reporting.token_counts import Count


@dataclass(frozen=True)
class Table1Row:
    split: str
    source: str
    examples: int
    prompt_tokens: float  # mean
    response_tokens: float | None  # mean; None for prompts
    paper: paper.PaperRow | None  # the corresponding row of the paper


def of_arm(arm: str, examples: Sequence[Example], *, follows_paper: bool, count: Count) -> list[Table1Row]:
    """Return one row per source, in the paper's order; prompt: all user turns, response: all assistant turns."""
    known = paper.TRAIN if follows_paper else {}
    return list(_rows(f"train · {arm}", examples, known, lambda row: row.provenance.source, count))


def of_prompts(split: str, prompts: Sequence[Prompt], *, count: Count) -> list[Table1Row]:
    """Return one row per source and site of a split of prompts."""
    known = {"dev": paper.DEV, "test": paper.TEST}[split]
    return list(_rows(split, prompts, known, lambda row: f"{row.provenance.source}/{row.provenance.site}", count))


def _rows(
    split: str,
    rows: Sequence[Example | Prompt],
    known: Mapping[str, paper.PaperRow],
    origin: Callable[[Example | Prompt], str],
    count: Count,
) -> Iterator[Table1Row]:
    order = list(paper.TRAIN)
    by_paper = sorted(rows, key=lambda row: (_position(row.provenance.source, order), origin(row)))
    for name, group in groupby(by_paper, key=origin):
        members = list(group)
        responses = count([turns_of(row, "assistant") for row in members])
        yield Table1Row(
            split=split,
            source=name,
            examples=len(members),
            prompt_tokens=mean(count([turns_of(row, "user") for row in members])),
            response_tokens=mean(responses) if isinstance(members[0], Example) else None,
            paper=known.get(name),
        )


def _position(source: str, order: Sequence[str]) -> int:
    return order.index(source) if source in order else len(order)


def turns_of(row: Example | Prompt, role: str) -> str:
    """The text of all turns of one role."""
    return "\n".join(turn.content for turn in row.messages if turn.role == role)
