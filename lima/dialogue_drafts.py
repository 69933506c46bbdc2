"""Drafts of dialogues from the comments of a Stack Exchange dump, for a person to edit (LIMA §2, §6).

The paper's second model was trained on thirty dialogues; twenty were comment chains, edited into the assistant's style.
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

LICENCE = "CC BY-SA"  # of the exchanges, in a version that a row without a day does not tell


@dataclass(frozen=True)
class Found:
    drafts: list[Draft]  # the best, in order
    comments: int
    threads: int  # in which asker and answerer both spoke
    chains: int  # of those, which could become a draft
    left_out: Counter[str]  # threads and comments a reason


def find(dump: Path, p: Dialogues, *, most: int) -> Found:
    """The `most` best chains of a dump; no more than those are held."""
    tally, left_out = ReadStats(), Counter[str]()
    spoken = chains = 0

    def drafts() -> Iterator[Draft]:
        nonlocal spoken, chains
        for thread in comments.read(dump, source="stack_exchange", licence=LICENCE, tally=tally):
            if isinstance(thread, Dropped):
                left_out[thread.reason] += 1
                continue
            spoken += 1
            made = dialogues.draft(thread, p=p, to_markdown=to_markdown)
            if isinstance(made, Draft):
                chains += 1
                yield made
            else:
                left_out[made] += 1

    best = heapq.nsmallest(most, drafts(), key=lambda draft: (-draft.merit.total(), id_(draft)))
    return Found(best, tally.rows, spoken, chains, left_out)


def check(out: Path) -> Path:
    """The path of the sheet beside `out`; raises LimaError where one of the two cannot be written."""
    if out.suffix != ".jsonl":
        raise LimaError(f"--out is {out}; drafts are JSON lines, so let its name end with .jsonl")
    sheet = out.with_suffix(".md")
    for path in (out, sheet):
        if path.exists():
            raise LimaError(
                f"{path} is there already, and may hold somebody's edits; name another file, or move it away"
            )
    return sheet


def write(found: Found, out: Path) -> Path:
    """The drafts as authored JSONL, and the sheet to read beside it, whose path is returned."""
    sheet = check(out)
    jsonl.write(out, map(row, found.drafts))
    sheet.write_text("\n".join(_sheet(found.drafts)), encoding="utf-8")
    return sheet


def id_(draft: Draft) -> str:
    """Never changes, whatever else is found: the site and the answer."""
    origin = draft.thread.provenance
    return f"dialogue-{origin.site}-{origin.id}"


def row(draft: Draft) -> Authored:
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
        origin=Origin(url=origin.url, author=origin.author, licence=origin.licence, digest=origin.digest),
    )


def _sheet(drafts: list[Draft]) -> Iterator[str]:
    yield "# Drafts of dialogues\n"
    yield (
        "Edit the JSON lines beside this sheet: the assistant answers in one voice and speaks of no site, the user "
        "asks what a user would ask, facts are right. Then write `dialogue` in the place of the note, or empty it; "
        "what still says `draft:` is left out. Do not touch `id` and `origin`: they keep the attribution.\n"
    )
    for place, draft in enumerate(drafts, start=1):
        origin, merit = draft.thread.provenance, draft.merit
        figures = ", ".join(f"{name} {value:.2f}" for name, value in vars(merit).items())
        yield f"## {place}. {visible_line(id_(draft))}\n"
        yield f"- from: {visible_line(origin.url)}, {_line(origin.author)}, {_line(origin.licence)}"
        yield f"- merit: {merit.total():.2f} ({figures})"
        yield from (f"- edit: {_line(edit)}" for edit in draft.edits)
        for turn in draft.turns:
            fence = "`" * (1 + max([2, *map(len, re.findall("`+", turn.content))]))
            yield f"\n**{turn.role}**\n\n{fence}text\n{visible(turn.content)}\n{fence}"
        yield ""


def _line(text: str) -> str:
    """Words of others on one line, their signs no markup."""
    return re.sub(r"([\\`*_\[\]<>#|!])", r"\\\1", visible(" ".join(text.split())))


def render(found: Found) -> str:
    """For a person to read."""
    counts = {
        "comments": found.comments,
        "answers below which both spoke": found.threads,
        "chains that can become a dialogue": found.chains,
        "drafts": len(found.drafts),
        **{f"left out: {reason}": count for reason, count in found.left_out.most_common()},
    }
    width = max(map(len, counts))
    return "\n".join(f"  {name:{width}}  {count:>9,}" for name, count in counts.items())
