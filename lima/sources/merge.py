"""Merge the parts of a source in their order, not in the order in which they were read.

Rows dropped while reading come first, then candidates whose id occurred in an earlier shard. The output therefore does
not depend on the size of parts or the number of workers.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson

from lima.records import Dropped
from lima.sources import registry
from lima.sources.base import Scraped
from lima.sources.shard_cache import CANDIDATES, DROPPED, CachedShard
from lima.sources.shards import Partition

DUPLICATE = "duplicate"


def join(source: str, reader: str, found: Iterable[tuple[Partition, CachedShard]], into: Path) -> Scraped:
    """Write candidates.jsonl and dropped.jsonl into a folder."""
    found = list(found)
    small = registry.small_shards(reader)
    with (into / CANDIDATES).open("wb") as candidates, (into / DROPPED).open("wb") as dropped:
        for _, kept in found:
            with (Path(kept.folder) / DROPPED).open("rb") as lines:
                shutil.copyfileobj(lines, dropped, 1 << 20)
        again = 0
        seen: set[str] = set()
        for part, kept in found:
            with (Path(kept.folder) / CANDIDATES).open("rb") as lines:
                if not small:
                    shutil.copyfileobj(lines, candidates, 1 << 20)
                    continue
                for place, line in zip(_places(part, kept), lines, strict=True):
                    name = orjson.loads(line)["id"]
                    if name in seen:
                        again += 1
                        repeated = Dropped(reason=DUPLICATE, detail=f"{name} came before", place=place, raw="")
                        dropped.write(repeated.model_dump_json().encode() + b"\n")
                    else:
                        seen.add(name)
                        candidates.write(line)
    return _counts(source, [kept for _, kept in found], again)


def _places(part: Partition, kept: CachedShard) -> Iterable[str]:
    """The file of each candidate."""
    for (dump, *_), count in zip(part.pieces, kept.candidates, strict=True):
        yield from [dump] * count


def _counts(source: str, kept: Sequence[CachedShard], again: int) -> Scraped:
    dropped = Counter({DUPLICATE: again} if again else {})
    for one in kept:
        dropped.update(one.dropped)
    return Scraped(
        source=source,
        rows=sum(one.rows for one in kept),
        questions=sum(one.questions for one in kept),
        answers=sum(one.answers for one in kept),
        candidates=sum(sum(one.candidates) for one in kept) - again,
        dropped=dict(sorted(dropped.items())),
    )
