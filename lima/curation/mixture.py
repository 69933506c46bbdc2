"""An arm's training set and the held-out set beside it, composed from what the filters kept (LIMA §2, Table 1)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter

import numpy as np

from lima.curation import hashing, sampling
from lima.errors import LimaError
from lima.records import Example, Record
from lima.text import normalize


class NoSuchTag(LimaError):
    """An arm is to do without a tag that none of its examples carries: nothing would be left out."""


class TooFewExamples(sampling.TooFewExamples):
    """Fewer examples of a source than were asked for."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__(message)
        self.source = source


class SiteShare(Record):
    """One site of a source: how much of it there is, and how much of the arm it became."""

    available: int  # examples in the pool, after the cap a site and without held-out ones
    expected: float  # examples if each draw fell on the site with p_i ∝ n_i^(1/τ) and no pool ran dry
    drawn: int


class Card(Record):
    """What an arm is made of: the data card that travels with train.jsonl."""

    arm: str
    pool: str
    examples: int
    held_out: int
    sources: dict[str, int]
    sites: dict[str, dict[str, SiteShare]]  # by source
    licences: dict[str, int]
    dialogues: int  # examples of more than one exchange
    prompt_chars: dict[str, float]  # mean of the user's turns, by source
    response_chars: dict[str, float]  # mean of the assistant's turns, by source


Pools = dict[str, list[Example]]  # by site, best first


def held_out(
    kept: Mapping[str, Sequence[Example]], counts: Mapping[str, int], *, temperature: float, seed: int
) -> list[Example]:
    """For perplexity (appendix B): drawn from the kept examples alone, so that it is the same for every arm.

    Within a site by chance and not the best first, which are to be trained on.
    """
    drawn: list[Example] = []
    for source, count in counts.items():
        shuffled = sorted(kept[source], key=lambda example: (hashing.hash_uniform(seed, example.id), example.id))
        fresh = normalize.without_duplicates(
            shuffled, ids=set(), keys={normalize.comparison_key(example) for example in drawn}
        )
        rng = hashing.generator(seed, f"held_out/{source}")
        drawn += _draw(source, by_site(fresh), count, temperature=temperature, rng=rng)
    return drawn


def without(offered: Mapping[str, Sequence[Example]], tags: Sequence[str]) -> dict[str, list[Example]]:
    """What carries none of the tags, by source; the six examples that prescribe a form, in the paper (appendix E)."""
    carried = {tag for examples in offered.values() for example in examples for tag in example.tags}
    for tag in tags:
        if tag not in carried:
            raise NoSuchTag(f"no example of {', '.join(offered)} carries the tag {tag!r}; correct the arm's `without`")
    return {
        source: [example for example in examples if not set(tags) & set(example.tags)]
        for source, examples in offered.items()
    }


def compose(
    offered: Mapping[str, Sequence[Example]],
    counts: Mapping[str, int],
    *,
    held_out: Sequence[Example],
    most_per_site: Mapping[str, int],
    temperature: float,
    seed: int,
) -> tuple[list[Example], dict[str, dict[str, SiteShare]]]:
    """The training set, and what each site gave to it. No prompt occurs twice, nor in the held-out set.

    A source's generator depends on the seed and its name alone: a larger arm contains a smaller one of the same pool,
    and another source beside it changes no draw.
    """
    ids, keys = {example.id for example in held_out}, {normalize.comparison_key(example) for example in held_out}
    train: list[Example] = []
    sites: dict[str, dict[str, SiteShare]] = {}
    for source, count in counts.items():
        ordered = sorted(offered[source], key=attrgetter("provenance.site"))  # stable: within a site as they came
        fresh = normalize.without_duplicates(ordered, ids=ids, keys=keys)
        pools = by_site(fresh, most=most_per_site.get(source))
        rng = hashing.generator(seed, f"train/{source}")
        drawn = _draw(source, pools, count, temperature=temperature, rng=rng)
        sites[source] = _shares(pools, drawn, temperature=temperature)
        keys |= {normalize.comparison_key(example) for example in drawn}
        train += drawn
    return train, sites


def card(
    arm: str, pool: str, train: Sequence[Example], sites: dict[str, dict[str, SiteShare]], *, held_out: int
) -> Card:
    return Card(
        arm=arm,
        pool=pool,
        examples=len(train),
        held_out=held_out,
        sources={source: sum(share.drawn for share in shares.values()) for source, shares in sites.items()},
        sites=sites,
        licences=dict(sorted(Counter(example.provenance.licence for example in train).items())),
        dialogues=sum(sum(turn.role == "user" for turn in example.messages) > 1 for example in train),
        prompt_chars={source: _mean_chars(train, source, "user") for source in sites},
        response_chars={source: _mean_chars(train, source, "assistant") for source in sites},
    )


def by_site(examples: Iterable[Example], *, most: int | None = None) -> Pools:
    """Sites by name, each with its first `most` examples, in the order they came."""
    ordered = sorted(examples, key=attrgetter("provenance.site"))
    groups = groupby(ordered, key=attrgetter("provenance.site"))
    return {site: list(islice(group, most)) for site, group in groups}


def _draw(source: str, pools: Pools, count: int, *, temperature: float, rng: np.random.Generator) -> list[Example]:
    """Sites by p_i ∝ n_i^(1/τ), within a site in the pool's order, the best first (§2.1)."""
    try:
        return sampling.draw(pools, count, temperature=temperature, rng=rng)
    except sampling.TooFewExamples as error:
        raise TooFewExamples(source, f"{source}: {error}; ask for fewer, or give the source more dumps") from error


def _shares(pools: Pools, drawn: Sequence[Example], *, temperature: float) -> dict[str, SiteShare]:
    sizes = {site: len(pool) for site, pool in pools.items()}
    times = Counter(example.provenance.site for example in drawn)
    return {
        site: SiteShare(available=sizes[site], expected=round(chance_of_site * len(drawn), 2), drawn=times[site])
        for site, chance_of_site in sampling.probabilities(sizes, temperature=temperature).items()
    }


def _mean_chars(examples: Sequence[Example], source: str, role: str) -> float:
    """Characters of one role's turns, a mean over the source's examples."""
    of_source = [example for example in examples if example.provenance.source == source]
    chars = sum(len(turn.content) for example in of_source for turn in example.messages if turn.role == role)
    return round(chars / len(of_source), 1)
