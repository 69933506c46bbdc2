"""Compose an arm's training set from what the filters kept (LIMA §2): `python -m lima.stages.mix ARM`."""

from lima import jsonl, params, paths
from lima.curation import attribution, mixture
from lima.errors import LimaError, command
from lima.records import Candidate, Example


def read(source: str, pool: str) -> list[Example]:
    return list(jsonl.read(paths.result("filter", source) / f"{pool}.jsonl", Example))


def titles(examples: list[Example]) -> dict[str, str]:
    """By example, from the candidate that it was made of: an example's prompt need not be its title."""
    found: dict[str, str] = {}
    for source in dict.fromkeys(example.provenance.source for example in examples):
        ids = {example.id for example in examples if example.provenance.source == source}
        candidates = paths.result("scrape", source) / "candidates.jsonl"
        found |= {candidate.id: candidate.title for candidate in jsonl.pick(candidates, Candidate, ids)}
        if ids - found.keys():
            raise LimaError(
                f"{candidates} has no {min(ids - found.keys())}, which the filters kept; run scrape and filter again"
            )
    return found


def main(arm: str) -> None:
    p = params.load()
    recipe = params.entry(p.arms, "arm", arm)
    temperature, seed = p.mix.temperature, p.mix.seed
    kept = {source: read(source, "kept") for source in p.mix.held_out}
    held_out = mixture.held_out(kept, p.mix.held_out, temperature=temperature, seed=seed)
    train, sites = mixture.compose(
        {source: read(source, recipe.pool) for source in recipe.examples},
        recipe.examples,
        held_out=held_out,
        most_per_site=p.mix.most_per_site,
        temperature=temperature,
        seed=seed,
    )
    card = mixture.card(arm, recipe.pool, train, sites, held_out=len(held_out))
    with paths.publish("mix", arm) as folder:
        jsonl.write(folder / "train.jsonl", train)
        jsonl.write(folder / "held_out.jsonl", held_out)
        jsonl.write(folder / "card.json", [card])
        readers = {source: p.sources[source].reader for source in {*recipe.examples, *p.mix.held_out}}
        credits = attribution.credits(
            {"train": train, "held_out": held_out}, titles=titles([*train, *held_out]), readers=readers
        )
        (folder / "attribution.csv").write_text(attribution.table(credits), encoding="utf-8", newline="")
    print(f"{arm}: {len(train)} training examples from {len(sites)} sources, {len(held_out)} held out")


if __name__ == "__main__":
    command(main)
