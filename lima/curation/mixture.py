"""Compose an arm's training set and the held-out set from the filtered examples (LIMA §2, Table 1)."""

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
    """An arm excludes a tag that none of its examples has."""


class TooFewExamples(sampling.TooFewExamples):
    """Fewer examples of a source are available than requested."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__(message)
        self.source = source


class SiteShare(Record):
    """Number of available and drawn examples of one site."""

    available: int  # examples in the pool, after the limit per site and without held-out examples
    expected: float  # examples, if every draw selects the site with p_i ∝ n_i^(1/τ) and no pool runs empty
    drawn: int


class Card(Record):
    """Composition of an arm: the data card that accompanies train.jsonl."""

    arm: str
    pool: str
    examples: int
    held_out: int
    sources: dict[str, int]
    sites: dict[str, dict[str, SiteShare]]  # by source
    licenses: dict[str, int]
    dialogues: int  # examples of more than one exchange
    prompt_chars: dict[str, float]  # mean of the user's turns, by source
    response_chars: dict[str, float]  # mean of the assistant's turns, by source


Pools = dict[str, list[Example]]  # by site, best first


def held_out(
    kept: Mapping[str, Sequence[Example]], counts: Mapping[str, int], *, temperature: float, seed: int
) -> list[Example]:
    """The held-out set for perplexity (appendix B), drawn from the kept examples and therefore equal for all arms.

    Within a site the order is random, since the best examples are reserved for training.
    """
    drawn: list[Example] = []
    for source, count in counts.items():
        fresh = normalize.without_duplicates(
            _shuffled(kept[source], seed=seed), ids=set(), keys={normalize.comparison_key(example) for example in drawn}
        )
        rng = hashing.generator(seed, f"held_out/{source}")
        drawn += _draw(source, by_site(fresh), count, temperature=temperature, rng=rng)
    return drawn


def exclude_tags(offered: Mapping[str, Sequence[Example]], tags: Sequence[str]) -> dict[str, list[Example]]:
    """The examples without any of the tags, by source. The paper excludes six format examples (appendix E).

    Raises:
        NoSuchTag: No example has the tag.
    """
    known = {tag for examples in offered.values() for example in examples for tag in example.tags}
    for tag in tags:
        if tag not in known:
            raise NoSuchTag(f"no example of {', '.join(offered)} has the tag {tag!r}; correct the arm's `without`")
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
    shuffle: bool = False,
) -> tuple[list[Example], dict[str, dict[str, SiteShare]]]:
    """The training set, and the shares of its sites by source. Prompts are unique and not in the held-out set.

    Each source has its own generator, keyed by seed and name. A larger arm therefore contains a smaller one of the same
    pool, and adding a source does not change the draws of another.

    Args:
        shuffle: whether the examples of a site are drawn in a random order, keyed by seed and id, not in the pool's.
    """
    ids, keys = {example.id for example in held_out}, {normalize.comparison_key(example) for example in held_out}
    train: list[Example] = []
    sites: dict[str, dict[str, SiteShare]] = {}
    for source, count in counts.items():
        pool = _shuffled(offered[source], seed=seed) if shuffle else offered[source]
        ordered = sorted(pool, key=attrgetter("provenance.site"))  # stable: keeps the order within a site
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
        licenses=dict(sorted(Counter(example.provenance.license for example in train).items())),
        dialogues=sum(sum(turn.role == "user" for turn in example.messages) > 1 for example in train),
        prompt_chars={source: _mean_chars(train, source, "user") for source in sites},
        response_chars={source: _mean_chars(train, source, "assistant") for source in sites},
    )


def by_site(examples: Iterable[Example], *, most: int | None = None) -> Pools:
    """Sites by name, each with its first `most` examples in their order."""
    ordered = sorted(examples, key=attrgetter("provenance.site"))
    groups = groupby(ordered, key=attrgetter("provenance.site"))
    return {site: list(islice(group, most)) for site, group in groups}


def _shuffled(examples: Iterable[Example], *, seed: int) -> list[Example]:
    """Random order that depends on seed and ids only, so that an example keeps its rank if others are added."""
    return sorted(examples, key=lambda example: (hashing.hash_uniform(seed, example.id), example.id))


def _draw(source: str, pools: Pools, count: int, *, temperature: float, rng: np.random.Generator) -> list[Example]:
    """Temperature sampling over sites; within a site in the pool's order, best first (§2.1)."""
    try:
        return sampling.draw(pools, count, temperature=temperature, rng=rng)
    except sampling.TooFewExamples as error:
        raise TooFewExamples(source, f"{source}: {error}; request fewer examples or add dumps") from error


def _shares(pools: Pools, drawn: Sequence[Example], *, temperature: float) -> dict[str, SiteShare]:
    sizes = {site: len(pool) for site, pool in pools.items()}
    counts = Counter(example.provenance.site for example in drawn)
    return {
        site: SiteShare(available=sizes[site], expected=round(probability * len(drawn), 2), drawn=counts[site])
        for site, probability in sampling.probabilities(sizes, temperature=temperature).items()
    }


def _mean_chars(examples: Sequence[Example], source: str, role: str) -> float:
    """Characters of one role's turns, averaged over the source's examples."""
    selected = [example for example in examples if example.provenance.source == source]
    chars = sum(len(turn.content) for example in selected for turn in example.messages if turn.role == role)
    return round(chars / len(selected), 1)
