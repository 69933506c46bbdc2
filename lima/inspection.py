"""What a dump holds, before anything is built on it: what would be kept, what dropped and why (LIMA §2.1)."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt
from tqdm import tqdm

from lima.config import Params
from lima.curation import filters
from lima.curation.filter_results import FilterResults
from lima.display import visible, visible_line
from lima.records import Candidate, Record
from lima.sources import registry
from lima.sources.base import BAD_ROW, ReadStats
from lima.sources.reddit import reader
from lima.text.html_to_markdown import to_markdown, to_marked

LICENCE = "not told"  # params.yaml tells it of a source; a path alone has none
SHOWN = 20  # bad rows in the table


class BadRow(Record):
    place: str
    reason: str


class Inspection(Record):
    path: str
    format: str  # the reader's name
    rows: NonNegativeInt
    questions: NonNegativeInt
    answers: NonNegativeInt
    bad_rows: tuple[BadRow, ...]
    candidates: NonNegativeInt
    kept: NonNegativeInt  # of the candidates, as examples
    prompts: NonNegativeInt
    dropped: dict[str, PositiveInt]  # rows and candidates a reason, the commonest first; bad rows are above
    response_scores: dict[str, PositiveInt]  # candidates with an answer a range of its score
    absent_subreddits: tuple[str, ...]  # of Reddit, those in params.yaml of which no row was read


def inspect(path: Path, params: Params) -> Inspection:
    """Read a dump with the reader its content asks for, and filter it as the stage `filter` would."""
    name = registry.detect(path)
    tally, bad, dropped, scores = ReadStats(), list[BadRow](), Counter[str](), Counter[int]()
    candidates = 0

    def offered() -> Iterator[Candidate]:
        nonlocal candidates
        read = registry.reader(name)(path, source=name, licence=LICENCE, tally=tally)
        for record in tqdm(read, desc=f"inspect {visible_line(str(path))}", unit=" records", disable=None):
            if isinstance(record, Candidate):
                candidates += 1
                if record.response_score is not None:
                    scores[_band(record.response_score)] += 1
                yield record
            elif record.reason == BAD_ROW:
                bad.append(BadRow(place=record.place, reason=record.detail))
            else:
                dropped[record.reason] += record.rows

    bins = FilterResults(reader=name, p=params.filter)
    sifted = filters.sift(offered(), reader=name, p=params.filter, to_markdown=to_markdown, to_marked=to_marked)
    dropped.update(drop.reason for drop in bins.fill(sifted))
    return Inspection(
        path=str(path),
        format=name,
        rows=tally.rows,
        questions=tally.questions,
        answers=tally.answers,
        bad_rows=tuple(bad),
        candidates=candidates,
        kept=len(bins.kept()),
        prompts=len(bins.prompts()),
        dropped=dict(dropped.most_common()),
        response_scores={_range(band): scores[band] for band in sorted(scores)},
        absent_subreddits=_absent(params, tally) if name == "reddit" else (),
    )


def _absent(params: Params, tally: ReadStats) -> tuple[str, ...]:
    wanted = params.filter.reddit.prefilter
    return tuple(reader.absent_subreddits({*wanted.train_subreddits, *wanted.prompt_subreddits}, tally))


def _band(score: int) -> int:
    """0 for none or less, n for 2^(n-1) to 2^n - 1 votes."""
    return max(score, 0).bit_length()


def _range(band: int) -> str:
    return f"{2 ** (band - 1)} to {2**band - 1}" if band > 1 else "1" if band else "0 or less"


def render(found: Inspection) -> str:
    """For a person to read."""
    parts = [f"{found.path} is read as {found.format}"]
    parts.append(_table({name: getattr(found, name) for name in ("rows", "questions", "answers", "candidates")}))
    parts.append("Would be kept\n" + _table({"as examples": found.kept, "as prompts": found.prompts}))
    if found.dropped:
        parts.append("Would be dropped\n" + _table(found.dropped))
    if found.response_scores:
        parts.append("Votes of the chosen answers\n" + _table(found.response_scores))
    if found.absent_subreddits:
        parts.append(f"Warning: {reader.NO_ROW.format(', '.join(found.absent_subreddits))}")
    parts.append(_bad(found.bad_rows))
    return visible("\n\n".join(parts))


def _table(counts: dict[str, int]) -> str:
    width = max(map(len, counts))
    return "\n".join(f"  {name:{width}}  {count:>9,}" for name, count in counts.items())


def _bad(rows: tuple[BadRow, ...]) -> str:
    if not rows:
        return "No row is bad"
    more = [f"  … and {len(rows) - SHOWN:,} more; --json lists all"] if len(rows) > SHOWN else []
    shown = [f"  {visible_line(row.place)}: {visible_line(row.reason)}" for row in rows[:SHOWN]]
    return "\n".join([f"Bad rows: {len(rows):,}", *shown, *more])
