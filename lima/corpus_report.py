"""What proofreading found, for a person to read."""

import re
from collections.abc import Mapping, Sequence
from statistics import mean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lima.config.tools import CorpusLint
from lima.corpus_lint import LintResult, repeated
from lima.display import visible, visible_line
from lima.evaluation.diversity import compare
from lima.reporting import paper
from lima.sources.authored.reader import Authored

ROWS = {  # the line of Table 1 that a part stands for
    "train": paper.TRAIN["authored"],
    "dev": paper.DEV["authored/A"],
    "test": paper.TEST["authored/B"],
    "crowd": paper.TEST["reddit/AskReddit"],
}
WIDTH = 130  # characters, where no terminal tells


def show(table: Table) -> str:
    out = Console(width=WIDTH)
    with out.capture() as shown:
        out.print(table)
    return shown.get().rstrip()


def render(proof: LintResult, p: CorpusLint) -> str:
    out = Console(width=WIDTH)
    with out.capture() as shown:
        out.print(lengths(proof.parts, p))
        compared = {name: rows for name in ROWS if len(rows := proof.parts[name]) > 1}
        if compared:
            texts = {name: [row.messages[0].content for row in rows] for name, rows in compared.items()}
            out.print(diversity(texts, p))
        out.print(closest(proof, p))
        if proof.unseen:
            out.print(
                f"Out of distribution: the {len(unseen(proof.parts))} test prompts of the kind unseen have a wording "
                f"{proof.unseen.mean:.3f} like the nearest prompt that is trained on, the other test prompts "
                f"{proof.unseen.others:.3f}; P(farther) {proof.unseen.farther:.2f}, where 0.5 is no farther."
            )
        for finding in proof.doubtful:
            out.print(visible(f"prompt {finding.place}: {finding.says}"), style="dim", markup=False)
        for finding in proof.faults:
            out.print(visible(f"{finding.law}: {finding.place}: {finding.says}"), markup=False)
        out.print(f"{len(proof.faults)} faults, {len(proof.doubtful)} odd spellings in prompts, which may be meant")
    return shown.get().rstrip()


def lengths(parts: Mapping[str, Sequence[Authored]], p: CorpusLint) -> Table:
    table = Table(title="As built, beside Table 1; tokens are words and marks times tokens_per_piece")
    for column in ("part", "lines", "paper's", "prompt", "paper's", "answer", "paper's", "topics", "kinds", "opening"):
        table.add_column(column, justify="left" if column in ("part", "opening") else "right")
    for name, rows in parts.items():
        if not rows:
            continue
        of = ROWS.get(name)
        start, times = repeated(rows, opening=p.opening_words)
        table.add_row(
            name,
            str(len(rows)),
            str(of.examples) if of else "",
            tokens(rows, "user", p),
            str(of.prompt_tokens) if of else "",
            tokens(rows, "assistant", p) if times else "",
            str(of.response_tokens or "") if of else "",
            str(len({row.topic for row in rows})),
            str(len({row.kind for row in rows})),
            _cell(f"{start} … {times}×" if times else ""),
        )
    return table


def tokens(rows: Sequence[Authored], role: str, p: CorpusLint) -> str:
    """Mean over the lines, all turns of one side together."""
    sizes = [
        sum(len(re.findall(r"\w+|[^\w\s]", turn.content)) for turn in row.messages if turn.role == role) for row in rows
    ]
    return f"{mean(sizes) * p.tokens_per_piece:.0f}"


def diversity(sets: Mapping[str, Sequence[str]], p: CorpusLint) -> Table:
    """Sets of prompts at the size of the smallest."""
    fewest, most = p.wording_chars
    size, found = compare(sets, chars=(fewest, most), max_distance=p.max_distance, draws=p.draws, seed=p.seed)
    table = Table(title=f"Diversity of prompts: {size.prompts} of each set, distinct runs among {size.words:,} words")
    for column in ("set", "prompts", "words", "distinct 1", "distinct 2", "distinct 3", "nearest", "clusters"):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, of in found.items():
        shares = (f"{share:.3f}" for share in of.distinct)
        table.add_row(
            _cell(name), str(of.prompts), f"{of.words:.1f}", *shares, f"{of.nearest:.3f}", f"{of.clusters:.1f}"
        )
    return table


def closest(proof: LintResult, p: CorpusLint) -> Table:
    texts = {row.id: row.messages[0].content for rows in proof.parts.values() for row in rows}
    table = Table(title=f"The {p.closest} closest pairs of prompts, by runs of {p.shingle_chars} characters")
    table.add_column("Jaccard", justify="right")
    for column in ("one", "", "other", " "):
        table.add_column(column, no_wrap=bool(column.strip()), max_width=None if column.strip() else 46)
    for pair in proof.closest:
        shown = [" ".join(texts[id_].split())[:90] for id_ in (pair.first, pair.second)]
        cells = (pair.first, shown[0], pair.second, shown[1])
        table.add_row(f"{pair.jaccard:.3f}", *map(_cell, cells))
    return table


def _cell(text: str) -> Text:
    """Words of others: their brackets are no markup of rich."""
    return Text(visible_line(text))


def unseen(parts: Mapping[str, Sequence[Authored]]) -> list[Authored]:
    return [row for row in parts["test"] if row.kind == "unseen"]
