"""Sample an arm's training set from the filtered examples (LIMA §2): `python -m lima.stages.mix ARM`."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

from lima import config, jsonl, storage
from lima.config import Params
from lima.curation import attribution, decisions, decontamination, mixture, origins, pool_cache
from lima.curation.decontamination import NgramIndex, Passage
from lima.errors import run_command
from lima.parallel import progress
from lima.records import Credit, Example, Funnel, Prompt
from lima.sources import test_sets
from lima.sources.base import Scraped

SHOWN_REASONS = 3  # most frequent drop reasons of a source in an error


def read(source: str, pool: str) -> list[Example]:
    return list(jsonl.read(pool_file(source, pool), Example))


def pool_file(source: str, pool: str) -> Path:
    return storage.result_dir("filter", source) / f"{pool}.jsonl"


def reserved_passages(folder: str) -> Iterator[Passage]:
    """Yield the dev and test prompts, the scripted dialogues, and the public test sets in `folder`."""
    for split in ("dev", "test", "dialogues"):
        prompts = jsonl.read(storage.result_dir("prompts") / f"{split}.jsonl", Prompt)
        yield from decontamination.passages(prompts, split=split)
    yield from (Passage(place, text) for place, text in test_sets.read(Path(folder)))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause the cyclic garbage collector, which would visit all examples again and again; they have no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@storage.alone("mix")
@without_garbage_collection()
def main(arm: str) -> None:
    params = config.load()
    recipe = config.entry(params.arms, "arm", arm)
    config.warn_if_uncompared(arm, params)
    temperature = params.mix.temperature
    reserved = list(reserved_passages(params.mix.test_sets))
    contamination, near = params.mix.contamination, params.filter.near_duplicates
    tests = cache(lambda: NgramIndex(reserved, settings=contamination))  # only built if a result is not cached
    kept = {source: read(source, "kept") for source in params.mix.held_out}
    with progress.phase(f"{arm}: overlaps of the held-out pools with test prompts"):
        overlapping = pool_cache.rejections(
            lambda: decontamination.overlaps(kept, tests()),
            settings=["overlaps", contamination.model_dump_json()],
            texts=chain.from_iterable(reserved),
            files=[pool_file(source, "kept") for source in kept],
        )
    kept = decontamination.without(kept, overlapping)
    with explaining_shortage(params, "kept"):
        held_out = mixture.held_out(kept, params.mix.held_out, temperature=temperature, seed=params.mix.seed)
    offered = {source: read(source, recipe.pool) for source in recipe.examples}
    ordered = decontamination.in_order(mixture.exclude_tags(offered, recipe.without), held_out)
    described = [contamination.model_dump_json(), near.model_dump_json(), *offered, "", *recipe.without]
    with progress.phase(f"{arm}: overlaps and near duplicates in the pool"):
        rejected = pool_cache.rejections(
            lambda: decontamination.rejections(
                ordered,
                tests=tests(),
                held_out=held_out,
                held_out_passages=NgramIndex(decontamination.passages(held_out), settings=contamination),
                near=near,
            ),
            settings=["rejections", *described],
            texts=chain(chain.from_iterable(reserved), (example.model_dump_json() for example in held_out)),
            files=[pool_file(source, recipe.pool) for source in offered],
        )
    vetted = decontamination.clean(ordered, rejected)
    with explaining_shortage(params, recipe.pool):
        train, sites = mixture.compose(
            vetted.examples,
            recipe.examples,
            held_out=held_out,
            most_per_site=params.mix.most_per_site,
            temperature=temperature,
            seed=params.data_seed(arm),
            shuffle=recipe.order == "random",
        )
    with storage.publish("mix", arm) as folder:
        jsonl.write(folder / "train.jsonl", train)
        jsonl.write(folder / "held_out.jsonl", held_out)
        jsonl.write(folder / "card.json", [mixture.card(arm, recipe.pool, train, sites, held_out=len(held_out))])
        jsonl.write(folder / "dropped.jsonl", vetted.dropped)
        funnels = decontamination.funnels(offered, vetted, without=recipe.without, held_out=held_out, train=train)
        jsonl.write(folder / "funnel.json", funnels)
        credits = credit(params, train, held_out)
        (folder / "attribution.csv").write_text(attribution.to_csv(credits), encoding="utf-8", newline="")
    print(f"{arm}: {len(train)} training examples from {len(sites)} sources, {len(held_out)} held out")


@contextmanager
def explaining_shortage(params: Params, pool: str) -> Iterator[None]:
    """Extend a TooFewExamples error by the causes of the shortage and the settings that change it."""
    try:
        yield
    except mixture.TooFewExamples as error:
        raise mixture.TooFewExamples(error.source, f"{error}. {shortage(params, error.source, pool)}") from error


def shortage(params: Params, source: str, pool: str) -> str:
    """Describe the settings that limit a source: the most frequent drop reasons, hold-out and sampling limits."""
    limits = []
    if pool == "unfiltered":
        limits.append(f"filter.unfiltered_reservoir keeps {params.filter.unfiltered_reservoir} candidates")
    else:
        [scraped] = jsonl.read(storage.result_dir("scrape", source) / "stats.json", Scraped)
        [funnel] = jsonl.read(storage.result_dir("filter", source) / "funnel.json", Funnel)
        counts = Counter(scraped.dropped) + Counter(funnel.dropped)
        for reason, count in counts.most_common(SHOWN_REASONS):
            setting = decisions.setting(reason, params.sources[source].reader)
            limits.append(f"{count:,} dropped as {reason}" + (f" ({setting})" if setting else ""))
    if source in params.mix.held_out:
        limits.append(f"{params.mix.held_out[source]} held out (mix.held_out)")
    if source in params.mix.most_per_site:
        limits.append(f"at most {params.mix.most_per_site[source]} per site (mix.most_per_site)")
    own = f"; to change a threshold for this source only, set source_filters.{source}" if pool == "kept" else ""
    return f"Limited by: {'; '.join(limits) or 'the size of the dumps'}{own}"


def credit(params: Params, train: list[Example], held_out: list[Example]) -> list[Credit]:
    readers = {source: entry.reader for source, entry in params.sources.items()}
    splits = {"train": train, "held_out": held_out}
    return list(attribution.credits(splits, titles=origins.titles([*train, *held_out]), readers=readers))


if __name__ == "__main__":
    run_command(main)
