"""Count the examples that a dump gives at several thresholds of votes and length, in one reading (LIMA §2.1)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from lima.config.sections import Characters, Filter
from lima.curation.decisions import REASONS, Outcome
from lima.curation.filters import FilterResults
from lima.display import visible, visible_line
from lima.inspection import SCORES, min_response_score, with_min_response_score
from lima.records import Candidate, Dropped, Example
from lima.sources import detection, registry, rules
from lima.sources.base import BAD_ROW, ReadStats
from lima.text.html_to_markdown import to_markdown, to_marked

ONE_PER_SITE = ("natural_instructions",)  # readers of which an arm has one example per site, a task of §2.1
OTHER_SUBREDDIT = "other_subreddit"  # drop reason
SHOWN = 8  # subreddits and reasons that are listed
PREVIEW = "preview"  # source and license of the rows, which are not written


class Bounds(NamedTuple):
    """Length limits of a response, in characters of Markdown, inclusive."""

    min_chars: int
    max_chars: int


class Thresholds(NamedTuple):
    """Thresholds of one source; None: the reader has no such threshold."""

    min_score: int | None
    bounds: Bounds | None


class Preview(NamedTuple):
    """What a dump contains."""

    path: Path
    reader: str
    candidates: int
    with_response: int  # candidates that the pool `unfiltered` is drawn from, before the rules common to all sources
    limited: bool  # reading stopped at the limit
    bad_rows: int
    first_bad: str  # place and reason of the first bad row; "" without one
    thresholds: Thresholds  # those of params.yaml
    kept: dict[Thresholds, int]  # examples at each combination, that of params.yaml among them; see ONE_PER_SITE
    dropped: dict[str, int]  # rows and candidates dropped at the most lenient combination, by reason
    other_subreddits: dict[str, int]  # Reddit: submissions by subreddit, of those that the settings do not select
    prompts: dict[str, int]  # rows that become prompts, by site


def read(path: Path, settings: Filter, *, limit: int | None) -> Preview:
    """Read a dump, or its first `limit` candidates, and filter it at the most lenient combination of thresholds.

    Near duplicates are counted once at every combination. Of two, the one with more votes counts, also where only the
    other one is within the length limits, so that a count can be smaller than that of the stage `filter` by a few.
    """
    reader = detection.detect(path)
    present = Thresholds(min_response_score(reader, settings), _bounds(settings, reader))
    grid = combinations(present)
    lenient = _with(settings, reader, _most_lenient(grid))
    tally, counts = ReadStats(), Counter[str]()
    bad: list[str] = []
    measured: dict[str, tuple[int, int]] = {}  # votes and characters of each example
    dropped, other_subreddits = Counter[str](), Counter[str]()

    def offered() -> Iterator[Candidate]:
        rows = registry.reader(reader)(path, source=PREVIEW, license=PREVIEW, tally=tally)
        for row in tqdm(rows, desc=f"read {visible_line(str(path))}", unit=" records", leave=False, disable=None):
            if isinstance(row, Candidate):
                counts["candidates"] += 1
                counts["with_response"] += bool(row.response.strip() or row.later_turns)
                yield row
                if counts["candidates"] == limit:
                    return
            elif row.reason == BAD_ROW:
                counts["bad_rows"] += 1
                bad.extend([] if bad else [f"{row.place}: {row.detail}"])
            else:
                dropped[row.reason] += row.rows

    def passing() -> Iterator[tuple[Candidate, Outcome]]:
        apply = partial(rules.apply, reader=reader, to_markdown=to_markdown, to_marked=to_marked)
        for candidate, outcome in apply(offered(), settings=lenient):
            if isinstance(outcome, Example):
                measured[outcome.id] = (candidate.response_score or 0, len(outcome.messages[-1].content))
            elif isinstance(outcome, Dropped) and outcome.reason == OTHER_SUBREDDIT:
                other_subreddits[candidate.provenance.site] += 1
            yield candidate, outcome

    results = FilterResults(reader=reader, settings=lenient)
    for drop in results.collect(passing()):
        dropped[drop.reason] += 1
    kept = results.kept()
    return Preview(
        path=path,
        reader=reader,
        candidates=counts["candidates"],
        with_response=counts["with_response"],
        limited=counts["candidates"] == limit,
        bad_rows=counts["bad_rows"],
        first_bad=next(iter(bad), ""),
        thresholds=present,
        kept={t: _count(kept, measured, t, per_site=reader in ONE_PER_SITE) for t in grid},
        dropped=dict(dropped.most_common()),
        other_subreddits=dict(other_subreddits.most_common()),
        prompts=dict(Counter(prompt.provenance.site for prompt in results.prompts())),
    )


def _count(
    kept: Sequence[Example], measured: Mapping[str, tuple[int, int]], thresholds: Thresholds, *, per_site: bool
) -> int:
    """Examples within the thresholds, or the sites that have one.

    Args:
        measured: votes and characters of each example, by id.
    """
    sites = [example.provenance.site for example in kept if _passes(*measured[example.id], thresholds)]
    return len(set(sites)) if per_site else len(sites)


def combinations(present: Thresholds) -> list[Thresholds]:
    """The combinations to count: votes of SCORES, and shorter or longer responses than those of params.yaml."""
    scores: Sequence[int | None] = [None]
    if present.min_score is not None:
        scores = sorted({*SCORES, present.min_score})
    bounds: Sequence[Bounds | None] = [None]
    if present.bounds is not None:
        low, high = present.bounds
        bounds = [Bounds(low, high), Bounds(low // 2, high), Bounds(low // 4, high), Bounds(low, 4 * high)]
    return [Thresholds(score, bound) for score in scores for bound in bounds]


def suggest(preview: Preview, needed: int) -> Thresholds:
    """The strictest combination that gives `needed` examples; fewer votes come before shorter responses.

    It is never stricter than params.yaml. If none gives enough, the one that gives most.
    """
    present = preview.thresholds

    def strictness(thresholds: Thresholds) -> tuple[int, int, int]:
        low, high = thresholds.bounds or (0, 0)
        return low, -high, thresholds.min_score or 0

    lenient = [t for t in preview.kept if (t.min_score or 0) <= (present.min_score or 0)]
    enough = [t for t in lenient if preview.kept[t] >= needed]
    return max(enough, key=strictness) if enough else max(lenient, key=lambda t: (preview.kept[t], strictness(t)))


def render(preview: Preview, chosen: Thresholds) -> str:
    """Format the counts as a table: a row per number of votes, a column per length; * marks the chosen combination.

    A reader without votes has one row, without a label.
    """
    lines = [
        f"{preview.path}: {preview.reader}, {preview.candidates:,} candidates"
        + (" (first ones only)" if preview.limited else "")
        + (f", {preview.bad_rows:,} bad rows" if preview.bad_rows else "")
    ]
    if preview.first_bad:
        lines.append(f"  first bad row: {visible_line(preview.first_bad)}")
    bounds = list(dict.fromkeys(t.bounds for t in preview.kept))
    titles = [f"{b.min_chars:,} to {b.max_chars:,} chars" if b else "examples" for b in bounds]
    widths = [max(len(title), 10) for title in titles]
    lines.append(
        "  kept at     " + "".join(f"  {title:>{width}} " for title, width in zip(titles, widths, strict=True))
    )
    for score in dict.fromkeys(t.min_score for t in preview.kept):
        cells = [
            f"  {preview.kept[t]:>{width},}{'*' if t == chosen else ' '}"
            for t, width in zip((Thresholds(score, b) for b in bounds), widths, strict=True)
        ]
        lines.append(f"  {'' if score is None else f'votes ≥ {score}':<12}" + "".join(cells).rstrip())
    if preview.prompts:
        lines.append(f"  {sum(preview.prompts.values()):,} rows without an answer can be test prompts")
    if preview.reader in ONE_PER_SITE:
        lines.append("  at most one example per task")
    if not any(preview.kept.values()):
        lines.extend(_explanation(preview))
    return visible("\n".join(lines))


def _explanation(preview: Preview) -> Iterator[str]:
    """Why a dump gives no example."""
    if preview.dropped:
        yield "  dropped at the most lenient thresholds:"
        for reason, count in list(preview.dropped.items())[:SHOWN]:
            meaning = REASONS.get(reason, "").partition(" [")[0]  # without the detail of a dropped row
            yield f"    {count:,} {reason}" + (f": {meaning}" if meaning else "")
    if preview.other_subreddits:
        most = next(iter(preview.other_subreddits))
        yield f"  subreddits that are not selected: {_most_frequent(preview.other_subreddits)}"
        yield f"  select one with --subreddit, for example --subreddit {most}"
    if preview.reader == "reddit" and (preview.dropped.get("no_answer") or not preview.candidates):
        yield "  an example is a submission with a comment: name a folder with the files of both"


def _most_frequent(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join([*shown, *(["…"] if len(counts) > SHOWN else [])])


def _bounds(settings: Filter, reader: str) -> Bounds | None:
    section = settings.of_reader(reader)
    return Bounds(section.min_chars, section.max_chars) if isinstance(section, Characters) else None


def _most_lenient(grid: Sequence[Thresholds]) -> Thresholds:
    scores = [t.min_score for t in grid if t.min_score is not None]
    bounds = [t.bounds for t in grid if t.bounds is not None]
    return Thresholds(
        min(scores, default=None),
        Bounds(min(b.min_chars for b in bounds), max(b.max_chars for b in bounds)) if bounds else None,
    )


def _with(settings: Filter, reader: str, thresholds: Thresholds) -> Filter:
    if thresholds.min_score is not None:
        settings = with_min_response_score(reader, settings, thresholds.min_score)
    if thresholds.bounds is None:
        return settings
    section = settings.of_reader(reader).model_copy(update=thresholds.bounds._asdict())
    return settings.with_reader(reader, section)


def _passes(score: int, chars: int, thresholds: Thresholds) -> bool:
    if thresholds.min_score is not None and score < thresholds.min_score:
        return False
    return thresholds.bounds is None or thresholds.bounds.min_chars <= chars <= thresholds.bounds.max_chars
