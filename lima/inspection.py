"""Inspect a dump: count the rows that the filters would keep or drop, by reason (LIMA §2.1)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt
from tqdm import tqdm

from lima.config import Params
from lima.config.sections import Filter
from lima.curation import decisions
from lima.curation.decisions import Outcome
from lima.curation.filters import FilterResults
from lima.display import visible, visible_line
from lima.records import Candidate, Dropped, Example, Record
from lima.sources import detection, registry, remote, rules
from lima.sources.base import BAD_ROW, ReadStats
from lima.sources.reddit import reader
from lima.text.html_to_markdown import to_markdown, to_marked

LICENSE = "unknown"  # licenses of sources are in params.yaml; a path has none
SHOWN = 20  # bad rows in the table
SCORES = (3, 5, 10, 20)  # votes: values of min_response_score to try in addition to that of params.yaml
LOW_SCORE = "low_response_score"  # drop reason of candidates below min_response_score


class BadRow(Record):
    place: str
    reason: str


class Inspection(Record):
    path: str
    format: str  # the reader's name
    skipped: NonNegativeInt  # candidates read before the first that is counted
    limited: bool  # reading stopped at the limit; all counts are of what was read until then
    rows: NonNegativeInt
    questions: NonNegativeInt
    answers: NonNegativeInt
    bad_rows: tuple[BadRow, ...]
    candidates: NonNegativeInt
    kept: NonNegativeInt  # candidates kept as examples
    prompts: NonNegativeInt
    dropped: dict[str, PositiveInt]  # rows and candidates by reason, most frequent first; without bad rows
    response_scores: dict[str, PositiveInt]  # candidates with a response, by range of its score
    kept_at: dict[str, dict[int, NonNegativeInt]]  # examples by setting and value, all other settings unchanged
    absent_subreddits: tuple[str, ...]  # Reddit: subreddits of params.yaml without a row in the dump


def inspect(path: Path, params: Params, *, limit: int | None = None, skip: int = 0) -> Inspection:
    """Read a dump with the reader of its format, and filter its candidates as the stage `filter` would.

    Args:
        path: A file or a folder, or an address from `lima.sources.remote`.
        params: The filters' thresholds.
        limit: Stop after this number of candidates; None reads the whole dump. Rows that cannot become candidates do
            not count.
        skip: Leave out this number of candidates first. Their rows are read and counted.
    """
    name = detection.detect(path)
    remote.require_local(path, name)
    tally, bad, dropped, scores = ReadStats(), list[BadRow](), Counter[str](), Counter[int]()
    candidates = skipped = 0
    limited = False

    def offered() -> Iterator[Candidate]:
        nonlocal candidates, skipped, limited
        read = registry.reader(name)(path, source=name, license=LICENSE, tally=tally)
        for record in tqdm(read, desc=f"inspect {visible_line(str(path))}", unit=" records", disable=None):
            if isinstance(record, Candidate):
                if skipped < skip:
                    skipped += 1
                    continue
                candidates += 1
                if record.response_score is not None:
                    scores[_band(record.response_score)] += 1
                yield record
                if candidates == limit:
                    limited = True
                    return
            elif record.reason == BAD_ROW:
                bad.append(BadRow(place=record.place, reason=record.detail))
            else:
                dropped[record.reason] += record.rows

    trial = Trial(name, params.filter)
    bins = FilterResults(reader=name, settings=params.filter)
    for drop in bins.collect(trial.passing(offered())):  # near duplicates: `passing` yields nothing that is dropped
        if drop.place not in trial.lenient:
            dropped[drop.reason] += 1
    dropped.update(trial.dropped)
    kept = bins.kept()
    return Inspection(
        path=str(path),
        format=name,
        skipped=skipped,
        limited=limited,
        rows=tally.rows,
        questions=tally.questions,
        answers=tally.answers,
        bad_rows=tuple(bad),
        candidates=candidates,
        kept=sum(example.id not in trial.lenient for example in kept),
        prompts=len(bins.prompts()),
        dropped=dict(dropped.most_common()),
        response_scores={_range(band): scores[band] for band in sorted(scores)},
        kept_at=trial.kept_at(kept) if scores else {},
        absent_subreddits=_absent(params, tally) if name == "reddit" and not limited else (),
    )


class Trial:
    """The filters over one reading of a dump, at the min_response_score of params.yaml and at the lowest of SCORES.

    Of near duplicates the one with the most votes is kept. An example is therefore never dropped for one that a higher
    bound leaves out, and one pass at the lowest bound gives the number of kept examples at every bound above it.
    """

    def __init__(self, reader: str, p: Filter) -> None:
        self._sift = partial(rules.apply, reader=reader, to_markdown=to_markdown, to_marked=to_marked)
        self._p, self._reader = p, reader
        self._bound = min_response_score(reader, p)
        self._scores: dict[str, int] = {}  # votes of the answer of each example, by its id
        self.dropped: Counter[str] = Counter()  # at the bound of params.yaml, without near duplicates
        self.lenient: set[str] = set()  # ids of examples that pass at a lower bound only

    def passing(self, candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, Outcome]]:
        """What passes the filters at the lowest bound; what does not pass at that of params.yaml is counted."""
        for candidate, outcome in self._sift(candidates, settings=self._p):
            if isinstance(outcome, Dropped):
                self.dropped[outcome.reason] += 1
                if not isinstance(outcome := self._at_the_lowest(candidate, outcome), Example):
                    continue
                self.lenient.add(outcome.id)
            if isinstance(outcome, Example) and candidate.response_score is not None:
                self._scores[outcome.id] = candidate.response_score
            yield candidate, outcome

    def kept_at(self, kept: Iterable[Example]) -> dict[str, dict[int, int]]:
        """The number of `kept`, the examples of `passing` without near duplicates, at each bound."""
        if self._bound is None or (setting := decisions.setting(LOW_SCORE, self._reader)) is None:
            return {}
        scores = [self._scores[example.id] for example in kept]
        return {setting: {bound: sum(score >= bound for score in scores) for bound in sorted({*SCORES, self._bound})}}

    def _at_the_lowest(self, candidate: Candidate, outcome: Dropped) -> Outcome:
        """The outcome of a candidate with too few votes at the lowest bound; any other outcome is unchanged."""
        score, lowest = candidate.response_score, min(SCORES)
        if outcome.reason != LOW_SCORE or score is None or score < lowest:
            return outcome
        [(_, relaxed)] = self._sift([candidate], settings=with_min_response_score(self._reader, self._p, lowest))
        return relaxed


def min_response_score(reader: str, p: Filter) -> int | None:
    """The bound on the votes of an answer; None if the reader's answers have none."""
    match reader:
        case "stack_exchange":
            return p.stack_exchange.prefilter.min_response_score
        case "reddit":
            return p.reddit.min_response_score
    return None


def with_min_response_score(reader: str, p: Filter, score: int) -> Filter:
    change = {"min_response_score": score}
    if reader == "reddit":
        return p.model_copy(update={"reddit": p.reddit.model_copy(update=change)})
    prefilter = p.stack_exchange.prefilter.model_copy(update=change)
    return p.model_copy(update={"stack_exchange": p.stack_exchange.model_copy(update={"prefilter": prefilter})})


def _absent(params: Params, tally: ReadStats) -> tuple[str, ...]:
    wanted = params.filter.reddit.prefilter
    return tuple(reader.absent_subreddits({*wanted.train_subreddits, *wanted.prompt_subreddits}, tally))


def _band(score: int) -> int:
    """Band of a score: 0 for scores of at most 0, n for 2^(n-1) to 2^n - 1 votes."""
    return max(score, 0).bit_length()


def _range(band: int) -> str:
    return f"{2 ** (band - 1)} to {2**band - 1}" if band > 1 else "1" if band else "0 or less"


def render(result: Inspection) -> str:
    """Format the result as text tables."""
    parts = [f"{result.path}: format {result.format}"]
    if result.skipped or result.limited:
        stopped = "; the rest of the dump is not counted" if result.limited else ""
        parts.append(f"Candidates: {result.candidates:,} counted, {result.skipped:,} skipped before them{stopped}")
    parts.append(_table({name: getattr(result, name) for name in ("rows", "questions", "answers", "candidates")}))
    parts.append("Would be kept\n" + _table({"as examples": result.kept, "as prompts": result.prompts}))
    if result.dropped:
        parts.append("Would be dropped\n" + _table(result.dropped))
    if result.response_scores:
        parts.append("Votes of the selected answers\n" + _table(result.response_scores))
    for setting, kept in result.kept_at.items():
        name = setting.rpartition(".")[2]
        by_value = {f"{name} {value}": count for value, count in kept.items()}
        parts.append(f"Would be kept as examples at other values of {setting}\n{_table(by_value)}")
    if result.absent_subreddits:
        parts.append(f"Warning: {reader.NO_ROW.format(', '.join(result.absent_subreddits))}")
    parts.append(_bad(result.bad_rows))
    return visible("\n\n".join(parts))


def _table(counts: dict[str, int]) -> str:
    width = max(map(len, counts))
    return "\n".join(f"  {name:{width}}  {count:>9,}" for name, count in counts.items())


def _bad(rows: tuple[BadRow, ...]) -> str:
    if not rows:
        return "No bad rows"
    more = [f"  … and {len(rows) - SHOWN:,} more; --json lists all"] if len(rows) > SHOWN else []
    shown = [f"  {visible_line(row.place)}: {visible_line(row.reason)}" for row in rows[:SHOWN]]
    return "\n".join([f"Bad rows: {len(rows):,}", *shown, *more])
