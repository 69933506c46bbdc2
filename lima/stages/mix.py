"""Compose an arm's training set from what the filters kept (LIMA §2): `python -m lima.stages.mix ARM`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lima import config, jsonl, storage
from lima.config import Params
from lima.curation import attribution, decisions, decontamination, hashing, mixture, origins
from lima.curation.decontamination import CleanPool, NgramIndex, Passage
from lima.curation.dropped_samples import WITHHELD, DroppedSamples
from lima.errors import run_command
from lima.records import Credit, Dropped, Example, Prompt
from lima.reporting import data_card, results, token_counts
from lima.reporting.composition import Composition, DropCount, Specimen
from lima.sources import test_sets
from lima.text import pii
from lima.text.html_to_markdown import to_markdown

SHOWN_REASONS = 3  # that dropped most of a source, in an error


def read(source: str, pool: str) -> list[Example]:
    return list(jsonl.read(storage.result_dir("filter", source) / f"{pool}.jsonl", Example))


def tested(folder: str) -> Iterator[Passage]:
    """The dev and test prompts, and the public test sets."""
    for split in ("dev", "test"):
        prompts = jsonl.read(storage.result_dir("prompts") / f"{split}.jsonl", Prompt)
        yield from decontamination.passages(prompts, split=split)
    yield from (Passage(place, text) for place, text in test_sets.read(Path(folder)))


@storage.alone("mix")
def main(arm: str) -> None:
    p = config.load()
    recipe = config.entry(p.arms, "arm", arm)
    config.warn_if_uncompared(arm, p)
    temperature, seed = p.mix.temperature, p.mix.seed
    tests = NgramIndex(tested(p.mix.test_sets), settings=p.mix.contamination)
    kept = decontamination.without_overlap({source: read(source, "kept") for source in p.mix.held_out}, tests)
    with explaining_shortage(p, "kept"):
        held_out = mixture.held_out(kept, p.mix.held_out, temperature=temperature, seed=seed)
    offered = {source: read(source, recipe.pool) for source in recipe.examples}
    vetted = decontamination.clean_pool(
        mixture.exclude_tags(offered, recipe.without),
        tests=tests,
        held_out=held_out,
        held_out_passages=NgramIndex(decontamination.passages(held_out), settings=p.mix.contamination),
        near=p.filter.near_duplicates,
    )
    with explaining_shortage(p, recipe.pool):
        train, sites = mixture.compose(
            vetted.examples,
            recipe.examples,
            held_out=held_out,
            most_per_site=p.mix.most_per_site,
            temperature=temperature,
            seed=seed,
        )
    with storage.publish("mix", arm) as folder:
        jsonl.write(folder / "train.jsonl", train)
        jsonl.write(folder / "held_out.jsonl", held_out)
        jsonl.write(folder / "card.json", [mixture.card(arm, recipe.pool, train, sites, held_out=len(held_out))])
        jsonl.write(folder / "dropped.jsonl", vetted.dropped)
        told = decontamination.funnels(offered, vetted, without=recipe.without, held_out=held_out, train=train)
        jsonl.write(folder / "funnel.json", told)
        credits = credit(p, train, held_out)
        (folder / "attribution.csv").write_text(attribution.to_csv(credits), encoding="utf-8", newline="")
        by_chance = sorted(train, key=lambda example: hashing.hash_uniform(seed, f"card/{example.id}"))
        built = Composition(
            arm=arm,
            pool=recipe.pool,
            train=train,
            held_out=held_out,
            sources={source: results.source(source) for source in recipe.examples},
            offered={source: len(examples) for source, examples in offered.items()},
            sites=sites,
            credits=credits,
            shown=by_chance[: p.mix.card.examples],
            losses=losses(p, list(recipe.examples), vetted, filtered=recipe.pool == "kept"),
        )
        page = data_card.render(p, built, count=token_counts.counter(storage.result_dir("base", p.train.model)))
        (folder / "card.html").write_text(page, encoding="utf-8")
    print(f"{arm}: {len(train)} training examples from {len(sites)} sources, {len(held_out)} held out")


@contextmanager
def explaining_shortage(p: Params, pool: str) -> Iterator[None]:
    """Adds to TooFewExamples why there are so few, and which settings give more."""
    try:
        yield
    except mixture.TooFewExamples as error:
        raise mixture.TooFewExamples(error.source, f"{error}. {shortage(p, error.source, pool)}") from error


def shortage(p: Params, source: str, pool: str) -> str:
    """What dropped most of a source's candidates, with the setting of each reason."""
    limits = []
    if pool == "unfiltered":
        limits.append(f"filter.unfiltered_reservoir keeps {p.filter.unfiltered_reservoir} candidates")
    else:
        read = results.source(source)
        counts = Counter(read.scraped.dropped) + Counter(read.funnel.dropped)
        for reason, count in counts.most_common(SHOWN_REASONS):
            setting = decisions.setting(reason, p.sources[source].reader)
            limits.append(f"{count:,} dropped by {reason}" + (f" ({setting})" if setting else ""))
    if source in p.mix.held_out:
        limits.append(f"{p.mix.held_out[source]} held out (mix.held_out)")
    if source in p.mix.most_per_site:
        limits.append(f"at most {p.mix.most_per_site[source]} of a site (mix.most_per_site)")
    own = f"; sources.{source}.filter sets a threshold for this source alone" if pool == "kept" else ""
    return f"What limits it: {'; '.join(limits) or 'the dumps'}{own}"


def credit(p: Params, train: list[Example], held_out: list[Example]) -> list[Credit]:
    readers = {source: entry.reader for source, entry in p.sources.items()}
    splits = {"train": train, "held_out": held_out}
    return list(attribution.credits(splits, titles=origins.titles([*train, *held_out]), readers=readers))


def losses(p: Params, sources: list[str], vetted: CleanPool, *, filtered: bool) -> list[DropCount]:
    """What was dropped before the arm drew, with some of each reason to look at."""
    piles = DroppedSamples(p.mix.card.dropped, seed=p.mix.seed)
    for stage in ("scrape", "filter") if filtered else ("scrape",):
        for source in sources:
            piles.add(stage, jsonl.read(storage.result_dir(stage, source) / "dropped.jsonl", Dropped), source=source)
    for source in sources:
        piles.add("mix", (one for one in vetted.dropped if one.place.startswith(f"{source}/")), source=source)
    found = list(piles.reasons())
    places = {dropped.place for pile in found if pile.reason not in WITHHELD for dropped in pile.shown}
    texts: dict[str, str] = {}
    for source in sources:
        ids = [place for place in places if place.startswith(f"{source}/")]
        texts |= origins.texts(source, ids, to_markdown=to_markdown)
    return [
        DropCount(
            stage=pile.stage,
            reason=pile.reason,
            meaning=pile.meaning,
            counts=pile.counts,
            shown=[_specimen(one, one.raw or texts.get(one.place, "")) for one in pile.shown],
        )
        for pile in found
    ]


def _specimen(dropped: Dropped, text: str) -> Specimen:
    """Whatever it was dropped for, it shows no personal data, and nothing where there is a secret."""
    shown = "" if pii.find_secret(text) else pii.mask(text).text
    return Specimen(dropped.place, pii.mask(dropped.detail).text, shown)


if __name__ == "__main__":
    run_command(main)
