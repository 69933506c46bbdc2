"""Compose an arm's training set from what the filters kept (LIMA §2): `python -m lima.stages.mix ARM`."""

from lima import jsonl, params, paths
from lima.curation import mixture
from lima.errors import command
from lima.records import Example


def read(source: str, pool: str) -> list[Example]:
    return list(jsonl.read(paths.result("filter", source) / f"{pool}.jsonl", Example))


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
    print(f"{arm}: {len(train)} training examples from {len(sites)} sources, {len(held_out)} held out")


if __name__ == "__main__":
    command(main)
