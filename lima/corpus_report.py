"""Tables for `lima corpus check` and `lima corpus compare`."""

import re
from collections.abc import Mapping, Sequence
from statistics import mean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lima.config.tools import CorpusLint
from lima.corpus_lint import LintResult, commonest_opening
from lima.display import visible, visible_line
from lima.evaluation.diversity import compare
from lima.reporting import paper
from lima.sources.authored.reader import Authored

ROWS = {  # part → row of Table 1
    "train": paper.TRAIN["authored"],
    "dev": paper.DEV["authored/A"],
    "test": paper.TEST["authored/B"],
    "crowd": paper.TEST["reddit/AskReddit"],
}
WIDTH = 130  # characters


def show(table: Table) -> str:
    """Format a table as text."""
    out = Console(width=WIDTH)
    with out.capture() as shown:
        out.print(table)
    return shown.get().rstrip()


def render(result: LintResult, params: CorpusLint) -> str:
    """Format lengths, diversity, closest pairs and findings as text."""
    out = Console(width=WIDTH)
    with out.capture() as shown:
        out.print(lengths(result.parts, params))
        compared = {name: rows for name in ROWS if len(rows := result.parts[name]) > 1}
        if compared:
            texts = {name: [row.messages[0].content for row in rows] for name, rows in compared.items()}
            out.print(diversity(texts, params))
        out.print(closest(result, params))
        if result.unseen:
            out.print(
                f"Out of distribution: mean wording similarity to the nearest training prompt is "
                f"{result.unseen.mean:.3f} for the {len(unseen(result.parts))} test prompts of the kind unseen and "
                f"{result.unseen.others:.3f} for the other test prompts; P(less similar) {result.unseen.farther:.2f}, "
                "where 0.5 means no difference."
            )
        for finding in result.warnings:
            out.print(visible(f"warning: {finding.location}: {finding.message}"), style="dim", markup=False)
        for finding in result.errors:
            out.print(visible(f"{finding.rule}: {finding.location}: {finding.message}"), markup=False)
        out.print(f"{len(result.errors)} errors, {len(result.warnings)} spelling warnings in prompts")
    return shown.get().rstrip()


def lengths(parts: Mapping[str, Sequence[Authored]], params: CorpusLint) -> Table:
    """Size and mean lengths of each part, with the values of Table 1."""
    table = Table(title="Corpus and Table 1; tokens are estimated: words and punctuation marks × tokens_per_piece")
    for column in ("part", "lines", "paper", "prompt", "paper", "response", "paper", "topics", "kinds", "opening"):
        table.add_column(column, justify="left" if column in ("part", "opening") else "right")
    for name, rows in parts.items():
        if not rows:
            continue
        target = ROWS.get(name)
        start, times = commonest_opening(rows, opening=params.opening_words)
        table.add_row(
            name,
            str(len(rows)),
            str(target.examples) if target else "",
            tokens(rows, "user", params),
            str(target.prompt_tokens) if target else "",
            tokens(rows, "assistant", params) if times else "",
            str(target.response_tokens or "") if target else "",
            str(len({row.topic for row in rows})),
            str(len({row.kind for row in rows})),
            _cell(f"{start} … {times}×" if times else ""),
        )
    return table


def tokens(rows: Sequence[Authored], role: str, params: CorpusLint) -> str:
    """Estimated tokens of all turns of a role, mean over the lines."""
    sizes = [
        sum(len(re.findall(r"\w+|[^\w\s]", turn.content)) for turn in row.messages if turn.role == role) for row in rows
    ]
    return f"{mean(sizes) * params.tokens_per_piece:.0f}"


def diversity(sets: Mapping[str, Sequence[str]], params: CorpusLint) -> Table:
    """Diversity of prompt sets, subsampled to the size of the smallest."""
    fewest, most = params.wording_chars
    size, by_set = compare(
        sets, chars=(fewest, most), max_distance=params.max_distance, draws=params.draws, seed=params.seed
    )
    table = Table(
        title=f"Diversity of prompts: {size.prompts} of each set, distinct n-grams among {size.words:,} words"
    )
    for column in ("set", "prompts", "words", "distinct 1", "distinct 2", "distinct 3", "nearest", "clusters"):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, values in by_set.items():
        shares = (f"{share:.3f}" for share in values.distinct)
        table.add_row(
            _cell(name),
            str(values.prompts),
            f"{values.words:.1f}",
            *shares,
            f"{values.nearest:.3f}",
            f"{values.clusters:.1f}",
        )
    return table


def closest(result: LintResult, params: CorpusLint) -> Table:
    """The most similar pairs of prompts."""
    texts = {row.id: row.messages[0].content for rows in result.parts.values() for row in rows}
    table = Table(
        title=f"The {params.closest} closest pairs of prompts, by shingles of {params.shingle_chars} characters"
    )
    table.add_column("Jaccard", justify="right")
    for column in ("id", "", "id ", " "):
        table.add_column(column, no_wrap=bool(column.strip()), max_width=None if column.strip() else 46)
    for pair in result.closest:
        shown = [" ".join(texts[id_].split())[:90] for id_ in (pair.first, pair.second)]
        cells = (pair.first, shown[0], pair.second, shown[1])
        table.add_row(f"{pair.jaccard:.3f}", *map(_cell, cells))
    return table


def _cell(text: str) -> Text:
    """Text from files: its brackets are not markup of rich."""
    return Text(visible_line(text))


def unseen(parts: Mapping[str, Sequence[Authored]]) -> list[Authored]:
    """Test prompts of the kind "unseen"."""
    return [row for row in parts["test"] if row.kind == "unseen"]
