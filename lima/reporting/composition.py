"""What an arm is made of, counted: sources, sites, lengths, licences, and what was left out (LIMA §2, Table 1)."""

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
    """What a site had, what τ leads to expect of it, and what was drawn."""

    @property
    def available(self) -> int: ...
    @property
    def expected(self) -> float: ...
    @property
    def drawn(self) -> int: ...


@dataclass(frozen=True)
class Specimen:
    """Something that was dropped, to be looked at."""

    place: str
    detail: str
    text: str  # "" where only the dump has it


@dataclass(frozen=True)
class DropCount:
    """What one stage dropped for one reason."""

    stage: str
    reason: str
    meaning: str
    counts: Mapping[str, int]  # by source
    shown: Sequence[Specimen]


@dataclass(frozen=True)
class Composition:
    """All that an arm's card tells of."""

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
    """How many rows of a source became how many examples, a step at a time."""

    source: str
    steps: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Lengths:
    """Tokens of each example of a source."""

    prompts: Sequence[int]
    responses: Sequence[int]


@dataclass(frozen=True)
class Licence:
    source: str
    licence: str
    address: str
    examples: int
    authors: int  # distinct, where all are known
    without_author: int  # examples of which an author is unknown, or one of two
    without_address: int

    @property
    def forbids(self) -> list[str]:
        """What a Creative Commons licence does not allow, by its name."""
        words = re.findall(r"\b(?:NC|ND)\b", self.licence) if self.licence.startswith("CC ") else []
        return [{"NC": "commercial use", "ND": "changed versions"}[word] for word in dict.fromkeys(words)]


def flows(built: Composition) -> list[Flow]:
    pool = "kept by the filters" if built.pool == "kept" else "sampled unfiltered"
    return [
        Flow(
            name,
            (
                ("rows in the dumps", source.scraped.rows),
                ("candidates", source.scraped.candidates),
                (pool, built.offered[name]),
                ("left to draw from", sum(share.available for share in built.sites[name].values())),
                ("drawn", drawn(built)[name]),
            ),
        )
        for name, source in built.sources.items()
    ]


def drawn(built: Composition) -> dict[str, int]:
    return {source: sum(share.drawn for share in of.values()) for source, of in built.sites.items()}


def measure(examples: Sequence[Example], count: Count) -> dict[str, Lengths]:
    """By source; user turns make the prompt and assistant turns the response, as in Table 1."""
    found = {}
    for source in dict.fromkeys(example.provenance.source for example in examples):
        of = [example for example in examples if example.provenance.source == source]
        prompts, responses = (count([table1.said(row, role) for row in of]) for role in ("user", "assistant"))
        found[source] = Lengths(prompts, responses)
    return found


def licences(credits: Sequence[Credit]) -> list[Licence]:
    """A line for each source and licence among the training examples."""
    found = []
    train = [credit for credit in credits if credit.split == "train"]
    for source, licence, address in sorted(Counter((c.source, c.licence, c.licence_address) for c in train)):
        of = [credit for credit in train if (credit.source, credit.licence) == (source, licence)]
        found.append(
            Licence(
                source=source,
                licence=licence,
                address=address,
                examples=len(of),
                authors=len({credit.author for credit in of if "author" not in credit.missing}),
                without_author=sum("author" in credit.missing for credit in of),
                without_address=sum("address" in credit.missing for credit in of),
            )
        )
    return found
