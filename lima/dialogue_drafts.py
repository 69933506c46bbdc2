"""Extract draft dialogues from the comment threads of a Stack Exchange dump (LIMA §2, §6).

The paper adds thirty dialogues to the training set. Twenty are comment chains, edited by hand into the assistant's
style. This module writes the drafts; a person edits them.
"""

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lima import jsonl
from lima.config.tools import Dialogues
from lima.curation import dialogues
from lima.curation.dialogues import Draft
from lima.display import visible, visible_line
from lima.errors import LimaError
from lima.records import Dropped
from lima.sources.authored.reader import DRAFT, Authored, Origin
from lima.sources.base import ReadStats
from lima.sources.stack_exchange import comments
from lima.text.html_to_markdown import to_markdown

LICENSE = "CC BY-SA"  # of Stack Exchange; its version depends on the date, which a row may lack


@dataclass(frozen=True)
class ExtractedDrafts:
    drafts: list[Draft]  # best first
    comments: int  # read
    threads: int  # with comments by both the asker and the answerer
    chains: int  # threads that can become a draft
    dropped: Counter[str]  # threads and comments by reason


def extract(dump: Path, params: Dialogues, *, most: int) -> ExtractedDrafts:
    """Extract the `most` best drafts of a dump; memory holds no more than these."""
    tally, dropped = ReadStats(), Counter[str]()
    threads = chains = 0

    def drafts() -> Iterator[Draft]:
        nonlocal threads, chains
        for thread in comments.read(dump, source="stack_exchange", license=LICENSE, tally=tally):
            if isinstance(thread, Dropped):
                dropped[thread.reason] += 1
                continue
            threads += 1
            draft = dialogues.draft(thread, settings=params, to_markdown=to_markdown)
            if isinstance(draft, Draft):
                chains += 1
                yield draft
            else:
                dropped[draft] += 1

    best = heapq.nsmallest(most, drafts(), key=lambda draft: (-draft.quality.total(), id_(draft)))
    return ExtractedDrafts(best, tally.rows, threads, chains, dropped)


def check(out: Path) -> Path:
    """Check that the output files can be written.

    Args:
        out: the JSONL file.

    Returns:
        The path of the Markdown file next to `out`.

    Raises:
        LimaError: `out` has another extension than .jsonl, or one of the two files exists.
    """
    if out.suffix != ".jsonl":
        raise LimaError(f"--out is {out}, but drafts are JSON Lines; use a name that ends with .jsonl")
    sheet = out.with_suffix(".md")
    for path in (out, sheet):
        if path.exists():
            raise LimaError(f"{path} already exists and may contain edits; choose another name or move it away")
    return sheet


def write(extracted: ExtractedDrafts, out: Path) -> Path:
    """Write the drafts as authored JSONL, and as Markdown for reading; return the path of the Markdown file."""
    sheet = check(out)
    jsonl.write(out, map(row, extracted.drafts))
    sheet.write_text("\n".join(_sheet(extracted.drafts)), encoding="utf-8")
    return sheet


def id_(draft: Draft) -> str:
    """Stable id, from the site and the answer's id alone."""
    origin = draft.thread.provenance
    return f"dialogue-{origin.site}-{origin.id}"


def row(draft: Draft) -> Authored:
    """The draft as a line of an authored source; its note marks it as unedited."""
    origin = draft.thread.provenance
    todo = "; ".join(draft.edits) or "make it one assistant's; check the facts"
    return Authored(
        id=id_(draft),
        group="A",
        topic=draft.thread.tags[0] if draft.thread.tags else origin.site,
        kind="dialogue",
        sensitive=False,
        note=f"{DRAFT} {todo}",
        messages=draft.turns,
        origin=Origin(url=origin.url, author=origin.author, license=origin.license, digest=origin.digest),
    )


def _sheet(drafts: list[Draft]) -> Iterator[str]:
    yield "# Drafts of dialogues\n"
    yield (
        "Edit the JSONL file of the same name. The assistant answers in one voice and does not mention the site; the "
        "user asks what a user would ask; the facts are correct. Then set `note` to `dialogue` or to an empty string: "
        "lines whose note begins with `draft:` are dropped. Do not change `id` and `origin`: they hold the "
        "attribution.\n"
    )
    for position, draft in enumerate(drafts, start=1):
        origin, merit = draft.thread.provenance, draft.quality
        figures = ", ".join(f"{name} {value:.2f}" for name, value in vars(merit).items())
        yield f"## {position}. {visible_line(id_(draft))}\n"
        yield f"- from: {visible_line(origin.url)}, {_line(origin.author)}, {_line(origin.license)}"
        yield f"- merit: {merit.total():.2f} ({figures})"
        yield from (f"- edit: {_line(edit)}" for edit in draft.edits)
        for turn in draft.turns:
            fence = "`" * (1 + max([2, *map(len, re.findall("`+", turn.content))]))
            yield f"\n**{turn.role}**\n\n{fence}text\n{visible(turn.content)}\n{fence}"
        yield ""


def _line(text: str) -> str:
    """Text from a dump on one line, with Markdown characters escaped."""
    return re.sub(r"([\\`*_\[\]<>#|!])", r"\\\1", visible(" ".join(text.split())))


def render(extracted: ExtractedDrafts) -> str:
    """Format the counts as a text table."""
    counts = {
        "comments": extracted.comments,
        "threads of asker and answerer": extracted.threads,
        "chains that can become a dialogue": extracted.chains,
        "drafts": len(extracted.drafts),
        **{f"dropped: {reason}": count for reason, count in extracted.dropped.most_common()},
    }
    width = max(map(len, counts))
    return "\n".join(f"  {name:{width}}  {count:>9,}" for name, count in counts.items())
