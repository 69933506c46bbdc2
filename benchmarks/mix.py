"""Cleaning an arm's pool: overlaps with tests and held-out examples, equal prompts and near duplicates.

The pool has parts of sentences of the hand-written corpus in random order, 2,000 characters an example. Times are
processor time.
"""

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

from rensa import RMinHash, RMinHashLSH

from benchmarks.claims import Claim, claim
from lima import config
from lima.curation import decontamination
from lima.curation.decontamination import NgramIndex, Passage
from lima.records import Example, Provenance, Turn
from lima.sources import test_sets

CORPUS = Path("corpus/authored")
CHARS = 2000  # of a response
WORDS = 4  # in a part of a sentence that is drawn as a whole
SIZES = (2_500, 10_000)  # examples
HELD_OUT = 200  # examples
BOUND = 0.5  # ms per example


def measure() -> Iterator[Claim]:
    """Our cleaning beside its bound, and beside near-duplicate search alone as in the README of rensa."""
    params = config.load()
    tests = NgramIndex(
        (Passage(place, text) for place, text in test_sets.read(Path(params.mix.test_sets))),
        settings=params.mix.contamination,
    )
    for size in SIZES:
        examples = pool(size + HELD_OUT)
        held_out, offered = examples[:HELD_OUT], examples[HELD_OUT:]
        start = time.process_time()
        decontamination.clean_pool(
            {"pool": offered},
            tests=tests,
            held_out=held_out,
            held_out_passages=NgramIndex(decontamination.passages(held_out), settings=params.mix.contamination),
            near=params.filter.near_duplicates,
        )
        ours = (time.process_time() - start) / size * 1000
        start = time.process_time()
        near_duplicates(["\n".join(turn.content for turn in example.messages) for example in offered])
        peer = (time.process_time() - start) / size * 1000
        words = f"pool of {size:,} examples cleaned"
        yield claim(f"{words}, beside the bound", ours=ours, peer=BOUND, unit="ms per example", target="≤ 1")
        yield claim(
            f"{words}, peer rensa, near duplicates only", ours=ours, peer=peer, unit="ms per example", target="≤ 4"
        )


def pool(size: int) -> list[Example]:
    rng = random.Random(17)
    texts = [
        text for path in sorted(CORPUS.rglob("*.jsonl")) for text in re.findall(r'"([^"\\]{40,})"', path.read_text())
    ]
    parts = [
        " ".join(run) for text in texts for words in [text.split()] for run in zip(*[iter(words)] * WORDS, strict=False)
    ]
    return [example(number, rng, parts) for number in range(size)]


def example(number: int, rng: random.Random, parts: list[str]) -> Example:
    place = Provenance(source="s", site=f"site{number % 80}", id=str(number), url="", author="", license="", digest="")
    turns = (
        Turn(role="user", content=" ".join(rng.choices(parts, k=8))),
        Turn(role="assistant", content=" ".join(rng.choices(parts, k=CHARS // 24))),
    )
    return Example(id=f"s/{place.site}/{number}", messages=turns, tags=(), provenance=place)


def near_duplicates(texts: list[str]) -> int:
    index = RMinHashLSH(threshold=0.7, num_perm=128, num_bands=32)
    repeated = 0
    for number, text in enumerate(texts):
        words = text.lower().split()
        signature = RMinHash(num_perm=128, seed=0)
        signature.update([" ".join(words[start : start + 5]) for start in range(len(words) - 4)])
        if index.query(signature):
            repeated += 1
        else:
            index.insert(number, signature)
    return repeated
