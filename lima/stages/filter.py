"""Filter a source's candidates by quality and style (LIMA §2): `python -m lima.stages.filter SOURCE`.

The candidates are split into parts, which processes judge in parallel; near duplicates are decided over all of them.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

from lima import config, jsonl, storage
from lima.curation import edits
from lima.curation.filters import FilterResults
from lima.errors import LimaError, run_command
from lima.parallel import process_pool, progress
from lima.sources import filter_parts
from lima.sources.filter_parts import Judged, Part

WORK = "lima.stages.filter:part"
PART = 2**20  # bytes of candidates in a job: about half a second of work


class FilterError(LimaError):
    """Candidates that cannot be filtered. The message names the line or the edit."""


@storage.alone("filter")
def main(source: str) -> None:
    params = config.load()
    reader = config.entry(params.sources, "source", source).reader
    settings = params.rules(source)
    folder = storage.kept_dir("filter", source)
    shutil.rmtree(folder, ignore_errors=True)
    plan = filter_parts.plan(
        storage.result_dir("scrape", source) / "candidates.jsonl",
        source=source,
        reader=reader,
        settings=settings,
        changes=edits.read_edits(Path(settings.edits), source),
        enough=PART,
        folder=folder,
    )
    results = FilterResults(reader=reader, settings=settings)
    filter_parts.join(plan.parts, judged(plan.parts, source), results)
    with storage.publish("filter", source) as into:
        near = (drop.model_dump_json().encode() + b"\n" for drop in results.without_duplicates())
        jsonl.write_lines(into / "dropped.jsonl", chain(dropped(plan.parts), near))
        jsonl.write(into / "kept.jsonl", results.kept())
        jsonl.write(into / "prompts.jsonl", results.prompts())
        jsonl.write_lines(into / "unfiltered.jsonl", filter_parts.unfiltered(plan.parts, plan.sample))
        funnel = results.funnel(source, offered=plan.offered)
        jsonl.write(into / "funnel.json", [funnel])
        jsonl.write(into / "personal_data.json", [results.personal_data(source)])
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{source}: {plan.offered} candidates, {funnel.kept} kept, {funnel.prompts} prompts, the rest dropped")


def judged(parts: Sequence[Part], source: str) -> list[Judged]:
    """Judge the parts in parallel.

    Raises:
        FilterError: a line or an edit is wrong, or the worker of a part was killed more often than retries allow.
    """
    if not parts:
        return []
    settings = parts[0].settings
    events = process_pool.run(
        WORK, [part.model_dump_json() for part in parts], workers=settings.workers, retries=settings.retries
    )
    names = [f"lines from {part.line}" for part in parts]
    with closing(events):
        replies = progress.follow(
            events, title=f"filter {source}", names=names, sizes=[part.stop - part.start for part in parts]
        )
    for reply in replies:
        if reply.error:
            raise FilterError(reply.error) if reply.user_error else RuntimeError(reply.error)
    return [Judged.model_validate_json(reply.result) for reply in replies]


def part(line: str) -> str:
    """Judge one part. Runs in a worker."""
    return filter_parts.judge(Part.model_validate_json(line)).model_dump_json()


def dropped(parts: Sequence[Part]) -> Iterator[bytes]:
    """The lines of the dropped candidates, without near duplicates."""
    for each in parts:
        with Path(each.folder, filter_parts.DROPPED).open("rb") as lines:
            yield from lines


if __name__ == "__main__":
    run_command(main)
