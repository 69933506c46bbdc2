"""Composition of an arm: sources, sites, lengths, licenses and dropped rows (LIMA §2, Table 1)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lima.records import Credit, Example
from lima.reporting import table1
from lima.reporting.results import SourceResults
from lima.reporting.token_counts import Count


class Share(Protocol):
    """Number of available, expected (under temperature τ) and sampled examples of a site."""

    @property
    def available(self) -> int: ...
    @property
    def expected(self) -> float: ...
    @property
    def drawn(self) -> int: ...


@dataclass(frozen=True)
class Specimen:
    """A dropped row or candidate, shown as an example."""

    place: str
    detail: str
    text: str  # "" if only the dump has the text


@dataclass(frozen=True)
class DropCount:
    """Rows dropped by one stage for one reason."""

    stage: str
    reason: str
    meaning: str
    counts: Mapping[str, int]  # by source
    shown: Sequence[Specimen]


@dataclass(frozen=True)
class Composition:
    """Everything that an arm's data card shows."""

    arm: str
    pool: str
    train: Sequence[Example]
    held_out: Sequence[Example]
    sources: Mapping[str, SourceResults]
    offered: Mapping[str, int]  # examples in the pool, by source
    sites: Mapping[str, Mapping[str, Share]]  # by source
    credits: Sequence[Credit]
    shown: Sequence[Example]
    losses: Sequence[DropCount]


@dataclass(frozen=True)
class Flow:
    """Number of rows of a source after each step, from the dump to the sampled examples."""

    source: str
    steps: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Lengths:
    """Tokens of each example of a source."""

    prompts: Sequence[int]
    responses: Sequence[int]


@dataclass(frozen=True)
class License:
    source: str
    license: str
    address: str
    examples: int
    authors: int  # distinct, among examples with known authors
    without_author: int  # examples with at least one unknown author
    without_address: int

    @property
    def forbids(self) -> list[str]:
        """Uses that the name of a Creative Commons license excludes (NC, ND)."""
        words = re.findall(r"\b(?:NC|ND)\b", self.license) if self.license.startswith("CC ") else []
        return [{"NC": "commercial use", "ND": "changed versions"}[word] for word in dict.fromkeys(words)]


def flows(built: Composition) -> list[Flow]:
    """Number of rows of each source after each step."""
    pool = "kept by the filters" if built.pool == "kept" else "sampled unfiltered"
    return [
        Flow(
            name,
            (
                ("rows in the dumps", source.scraped.rows),
                ("candidates", source.scraped.candidates),
                (pool, built.offered[name]),
                ("eligible", sum(share.available for share in built.sites[name].values())),
                ("sampled", drawn(built)[name]),
            ),
        )
        for name, source in built.sources.items()
    ]


def drawn(built: Composition) -> dict[str, int]:
    """Number of sampled examples by source."""
    return {source: sum(share.drawn for share in sites.values()) for source, sites in built.sites.items()}


def measure(examples: Sequence[Example], count: Count) -> dict[str, Lengths]:
    """Lengths by source. The prompt is all user turns, the response all assistant turns, as in Table 1."""
    lengths = {}
    for source in dict.fromkeys(example.provenance.source for example in examples):
        members = [example for example in examples if example.provenance.source == source]
        prompts, responses = (count([table1.turns_of(row, role) for row in members]) for role in ("user", "assistant"))
        lengths[source] = Lengths(prompts, responses)
    return lengths


def licenses(credits: Sequence[Credit]) -> list[License]:
    """One entry for each source and license among the training examples."""
    entries = []
    train = [credit for credit in credits if credit.split == "train"]
    for source, license, address in sorted(Counter((c.source, c.license, c.license_address) for c in train)):
        members = [credit for credit in train if (credit.source, credit.license) == (source, license)]
        entries.append(
            License(
                source=source,
                license=license,
                address=address,
                examples=len(members),
                authors=len({credit.author for credit in members if "author" not in credit.missing}),
                without_author=sum("author" in credit.missing for credit in members),
                without_address=sum("address" in credit.missing for credit in members),
            )
        )
    return entries
