"""Division of the dumps of a source into parts that are read in parallel, on one machine or on several.

A part is one site of Stack Exchange; consecutive pages, tasks or files up to a size; or all files of a source
whose rows must be joined. The results are merged in order, so that the size of parts does not change the output.
"""

from pathlib import Path

from pydantic import NonNegativeInt

from lima.records import Record
from lima.sources import registry, remote
from lima.sources.base import Shard


class Partition(Record):
    name: str  # of its first piece, below the dumps, and of its last; unique in the source
    pieces: tuple[tuple[str, ...], ...]  # per shard: the argument of `read`, then the other files that it opens
    size: NonNegativeInt  # bytes of all files


def partitions(reader: str, dumps: Path, *, enough: int) -> list[Partition]:
    """Return the parts in the order of the dumps; small shards are grouped up to `enough` bytes.

    Raises:
        DumpError: the dumps cannot be read, or the reader cannot read from an address.
    """
    remote.require_local(dumps, reader)
    groups: list[list[Shard]] = []
    small = registry.small_shards(reader)
    size = enough
    for piece in registry.pieces(reader)(dumps):
        if size >= enough or not small:
            groups.append([])
            size = 0
        groups[-1].append(piece)
        size += _size(piece)
    return [_part(group, dumps) for group in groups]


def files(pieces: tuple[tuple[str, ...], ...]) -> list[Path]:
    """Return all files of a part, each once."""
    return [
        path
        for path in map(remote.location, dict.fromkeys(name for piece in pieces for name in piece))
        if path.is_file()
    ]


def _part(group: list[Shard], dumps: Path) -> Partition:
    ends = dict.fromkeys(str(piece.dump.relative_to(dumps)) for piece in (group[0], group[-1]))
    names = [end if end != "." else dumps.name for end in ends]
    pieces = tuple(tuple(map(str, (piece.dump, *piece.beside))) for piece in group)
    return Partition(name=" … ".join(names), pieces=pieces, size=sum(map(_size, group)))


def _size(piece: Shard) -> int:
    return sum(path.stat().st_size for path in files((tuple(map(str, (piece.dump, *piece.beside))),)))
