"""Read a source's dumps into candidates (LIMA §2.1, §2.2): `python -m lima.stages.scrape SOURCE`."""

from collections import Counter
from functools import partial
from pathlib import Path

from tqdm import tqdm

from lima import jsonl, params, paths
from lima.curation import chance
from lima.errors import LimaError, command
from lima.records import Candidate, Dropped
from lima.sources import dispatch
from lima.sources.reading import BAD_ROW, Early, Scraped, Subreddits, Tally

SHOWN = 5  # bad rows in an error


class ScrapeError(LimaError):
    """Too many rows that cannot be read; says how many may be, and where the first ones are."""


def main(source: str) -> None:
    p = params.load()
    entry = params.entry(p.sources, "source", source)
    tally, dropped, bad = Tally(), Counter[str](), list[Dropped]()
    candidates = 0
    with paths.publish("scrape", source) as folder:
        read = dispatch.reader(entry.reader)(
            Path(entry.dumps), source=source, licence=entry.licence, tally=tally, early=early(p.filter)
        )
        with (
            (folder / "candidates.jsonl").open("w", encoding="utf-8") as kept,
            (folder / "dropped.jsonl").open("w", encoding="utf-8") as left_out,
        ):
            for record in tqdm(read, desc=f"scrape {source}", unit=" records", disable=None):
                if isinstance(record, Candidate):
                    candidates += 1
                else:
                    dropped[record.reason] += record.rows
                    if record.reason == BAD_ROW and len(bad) < SHOWN:
                        bad.append(record)
                (kept if isinstance(record, Candidate) else left_out).write(record.model_dump_json() + "\n")
        check(dropped[BAD_ROW], bad, rows=tally.rows, limit=p.scrape.max_bad_share, seen_in=folder)
        counts = Scraped(
            source=source,
            rows=tally.rows,
            questions=tally.questions,
            answers=tally.answers,
            candidates=candidates,
            dropped=dict(sorted(dropped.items())),
        )
        jsonl.write(folder / "stats.json", [counts])
    print(f"{source}: {tally.rows} rows, {candidates} candidates, {dropped[BAD_ROW]} bad rows")


def early(p: params.Filter) -> Early:
    """What `filter` would drop of a community anyway, and would not draw for arms without filters either."""
    answered, asked = p.reddit.train_subreddits, p.reddit.prompt_subreddits
    return Early(
        min_response_score=p.stack_exchange.min_response_score,
        reservoir=p.unfiltered_reservoir,
        share=partial(chance.share, p.seed),
        subreddits=Subreddits(frozenset(answered), frozenset(asked)),
    )


def check(count: int, first: list[Dropped], *, rows: int, limit: float, seen_in: Path) -> None:
    """Raises ScrapeError where more than the share `limit` of the rows is bad."""
    if count > limit * rows:
        listed = "".join(f"\n  {bad.place}: {bad.detail}" for bad in first)
        raise ScrapeError(
            f"{count} of {rows} rows cannot be read ({count / max(rows, 1):.1%}), more than scrape.max_bad_share "
            f"{limit:.1%}; the first:{listed}\nall of them are in {seen_in / 'dropped.jsonl'}; "
            "mend or fetch the dump again, or raise scrape.max_bad_share in params.yaml"
        )


if __name__ == "__main__":
    command(main)
