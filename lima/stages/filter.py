"""Filter a source's candidates by quality and style (LIMA §2): `python -m lima.stages.filter SOURCE`."""

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.curation import edits, hashing, reviews
from lima.curation.filters import FilterResults
from lima.errors import run_command
from lima.records import Candidate
from lima.sources import rules
from lima.text.html_to_markdown import to_markdown, to_marked


@storage.alone("filter")
def main(source: str) -> None:
    params = config.load()
    reader = config.entry(params.sources, "source", source).reader
    settings = params.rules(source)
    candidates = jsonl.read(storage.result_dir("scrape", source) / "candidates.jsonl", Candidate)
    reservoir = hashing.Reservoir[Candidate](settings.unfiltered_reservoir, seed=settings.seed)
    changes = edits.read_edits(Path(settings.edits), source)
    decided = reviews.read_reviews(Path(settings.reviews))
    results = FilterResults(reader=reader, settings=settings)
    offered = 0

    def watched() -> Iterator[Candidate]:
        nonlocal offered
        for candidate in tqdm(candidates, desc=f"filter {source}", unit=" candidates", disable=None):
            offered += 1
            if candidate.response.strip():
                reservoir.offer(candidate.id, candidate)
            yield candidate

    with storage.publish("filter", source) as folder:
        outcomes = rules.apply(
            watched(), reader=reader, settings=settings, to_markdown=to_markdown, to_marked=to_marked
        )
        reviewed = reviews.apply_reviews(outcomes, decided)
        jsonl.write(folder / "dropped.jsonl", results.collect(edits.apply_edits(reviewed, changes)))
        jsonl.write(folder / "kept.jsonl", results.kept())
        jsonl.write(folder / "prompts.jsonl", results.prompts())
        unfiltered = rules.unfiltered(
            reservoir.items(), reader=reader, settings=settings, to_markdown=to_markdown, to_marked=to_marked
        )
        jsonl.write(folder / "unfiltered.jsonl", unfiltered)
        funnel = results.funnel(source, offered=offered)
        jsonl.write(folder / "funnel.json", [funnel])
        jsonl.write(folder / "personal_data.json", [results.personal_data(source)])
    print(f"{source}: {offered} candidates, {funnel.kept} kept, {funnel.prompts} prompts, the rest dropped")


if __name__ == "__main__":
    run_command(main)
