"""Read a source's dumps into candidates (LIMA §2.1, §2.2): `python -m lima.stages.scrape SOURCE`.

The dumps are split into parts, which are read in parallel by processes, or on the Ray cluster at RAY_ADDRESS. Finished
parts are cached below work/ until the result is published, so that an interrupted run resumes.
"""

import os
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from lima import config, jsonl, storage
from lima.config import Params
from lima.config.sections import RedditPrefilter, StackExchangePrefilter
from lima.curation import hashing
from lima.errors import LimaError, run_command
from lima.parallel import process_pool, progress, ray_cluster
from lima.parallel.jobs import Event, Reply
from lima.records import Dropped
from lima.sources import merge, registry, remote, shard_cache, shards
from lima.sources.base import BAD_ROW, Prefilter, Subreddits
from lima.sources.shard_cache import CachedShard, Job

WORK = "lima.stages.scrape:part"
SHOWN = 5  # bad rows in an error


class ScrapeError(LimaError):
    """Parts or too many rows cannot be read. The message names the limit and the first locations."""


@storage.alone("scrape")
def main(source: str) -> None:
    params = config.load()
    jobs = plan(source, params)
    names, sizes = [job.part.name for job in jobs], [job.part.size for job in jobs]
    with closing(run(jobs, params)) as events:
        replies = progress.follow(events, title=f"scrape {source}", names=names, sizes=sizes)
    publish(jobs, replies, params)


def plan(source: str, params: Params) -> list[Job]:
    """Return one job per part, in the order in which the results are merged."""
    entry = config.entry(params.sources, "source", source)
    prefilter = params.rules(source).of_reader(entry.reader).prefilter
    voted = prefilter if isinstance(prefilter, StackExchangePrefilter) else None
    chosen = prefilter if isinstance(prefilter, RedditPrefilter) else None
    store = storage.kept_dir("scrape", source)
    shard_cache.remove_partial(store)
    return [
        Job(
            source=source,
            reader=entry.reader,
            license=entry.license,
            author=entry.author or "",
            url=entry.url or "",
            root=entry.dumps,
            part=part,
            min_response_score=voted.min_response_score if voted else 0,
            reservoir=params.filter.unfiltered_reservoir,
            seed=params.filter.seed,
            answered=tuple(chosen.train_subreddits) if chosen else (),
            asked=tuple(chosen.prompt_subreddits) if chosen else (),
            code=_code(entry.reader),
            store=str(store),
        )
        for part in shards.partitions(
            entry.reader, remote.location(entry.dumps), enough=params.scrape.part_megabytes * 10**6
        )
    ]


def run(jobs: Sequence[Job], params: Params) -> Generator[Event]:
    """Run the jobs, largest part first: started last, it would keep one core busy and leave the others idle.

    Closing the generator removes partial results.
    """
    order = sorted(range(len(jobs)), key=lambda number: -jobs[number].part.size)
    lines = [jobs[number].model_dump_json() for number in order]
    if ray_cluster.ADDRESS in os.environ:
        events = ray_cluster.run(WORK, lines, retries=params.scrape.retries)
    else:
        events = process_pool.run(WORK, lines, workers=params.scrape.workers, retries=params.scrape.retries)
    try:
        with closing(events):
            for event in events:
                yield replace(event, job=order[event.job])
    finally:
        shard_cache.remove_partial(Path(jobs[0].store))


def part(line: str) -> str:
    """Read one part, or return its cached result. Runs in a worker."""
    job = Job.model_validate_json(line)
    if job.code != _code(job.reader):
        raise ScrapeError(f"{os.uname().nodename} has another version of lima; install the same one on all nodes")
    return shard_cache.cached(job, early(job)).model_dump_json()


def early(job: Job) -> Prefilter:
    """Return the rule for rows that the stage filter would drop, and would not sample for unfiltered arms either."""
    return Prefilter(
        min_response_score=job.min_response_score,
        reservoir=job.reservoir,
        shares=partial(hashing.fast_hash_uniforms, job.seed),
        subreddits=Subreddits(frozenset(job.answered), frozenset(job.asked)),
    )


def publish(jobs: Sequence[Job], replies: Sequence[Reply], params: Params) -> None:
    """Merge the parts into the stage's result.

    Raises:
        ScrapeError: parts failed; the cached results of the others remain.
    """
    _raise_failures(jobs, replies)
    source, reader, store = jobs[0].source, jobs[0].reader, jobs[0].store
    parts = [
        (job.part, CachedShard.model_validate_json(reply.result)) for job, reply in zip(jobs, replies, strict=True)
    ]
    if again := sum(kept.again for _, kept in parts):
        print(f"{source}: {again} of {len(jobs)} parts were cached by an interrupted run", file=sys.stderr)
    with storage.publish("scrape", source) as folder:
        counts = merge.join(source, reader, parts, folder)
        bad = counts.dropped.get(BAD_ROW, 0)
        check(bad, folder / shard_cache.DROPPED, rows=counts.rows, limit=params.scrape.max_bad_share)
        jsonl.write(folder / "stats.json", [counts])
    shutil.rmtree(store)
    print(f"{source}: {counts.rows} rows, {counts.candidates} candidates, {bad} bad rows")


def check(count: int, dropped: Path, *, rows: int, limit: float) -> None:
    """Raise ScrapeError if more than the share `limit` of the rows is malformed."""
    if count > limit * rows:
        first = islice((record for record in jsonl.read(dropped, Dropped) if record.reason == BAD_ROW), SHOWN)
        listed = "".join(f"\n  {bad.place}: {bad.detail}" for bad in first)
        raise ScrapeError(
            f"{count} of {rows} rows cannot be read ({count / max(rows, 1):.1%}), more than scrape.max_bad_share "
            f"{limit:.1%}; the first:{listed}\nall of them are in {dropped}; "
            "repair or download the dump again, correct its reader in params.yaml (`lima inspect DUMP` shows the "
            "format), or raise scrape.max_bad_share"
        )


def _raise_failures(jobs: Sequence[Job], replies: Sequence[Reply]) -> None:
    failed = [(job.part.name, reply) for job, reply in zip(jobs, replies, strict=True) if reply.error]
    if not failed:
        return
    errors = "".join(f"\n  {name}: {reply.error}" for name, reply in failed)
    kept = f"the other {len(jobs) - len(failed)} are cached and not read again" if len(failed) < len(jobs) else ""
    if len(jobs) == 1:
        errors, kept = failed[0][1].error, ""
    error = f"{len(failed)} of {len(jobs)} parts cannot be read:{errors}\n{kept}".rstrip() if len(jobs) > 1 else errors
    raise ScrapeError(error) if all(reply.user_error for _, reply in failed) else RuntimeError(error)


def _code(reader: str) -> str:
    return shard_cache.code(reader, Path(hashing.__file__), *registry.plugin_files(reader))


if __name__ == "__main__":
    run_command(main)
