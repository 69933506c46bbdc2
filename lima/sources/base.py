"""Reader protocol and helpers shared by all sources.

A reader is a module with the functions of `Source`. docs/sources.md shows how to add one in a package of its own.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from lima.errors import LimaError
from lima.records import Candidate, Dropped, Record

BAD_ROW = "bad_row"
UNNAMED = "an unnamed user"  # the author of a row that names none; attribution.csv shows it as unknown


class DumpError(LimaError):
    """A dump that cannot be read; the message names the file, the problem and the fix."""


@dataclass
class ReadStats:
    """Counts of the rows read so far; a reader updates them as it yields."""

    rows: int = 0  # raw records, the bad ones too
    questions: int = 0
    answers: int = 0
    subreddits: set[str] = field(default_factory=set, compare=False)  # of Reddit's rows, casefolded


@dataclass(frozen=True)
class Subreddits:
    """Subreddits to read. Names match in any case; records have the spelling of params.yaml."""

    answered: frozenset[str]  # submissions with their best reply
    asked: frozenset[str]  # submissions alone: their comments are counted and not kept

    def names(self) -> frozenset[str]:
        return self.answered | self.asked

    def spelling(self, name: object) -> str | None:
        """Return the spelling of params.yaml; None for another subreddit."""
        return self._spellings.get(name.casefold()) if isinstance(name, str) else None

    @cached_property
    def _spellings(self) -> dict[str, str]:
        return {name.casefold(): name for name in sorted(self.names())}


@dataclass(frozen=True)
class Prefilter:
    """Which questions of a community need not become candidates, since the filters would drop them anyway.

    Of Reddit, only `subreddits` are read, or all where it is None. Of an exchange, a question whose best answer scores
    below `min_response_score`, or that has no answer, is dropped by the reader; but each site's `reservoir` answered
    questions of the smallest share stay, from which arms without quality filters draw. A site, and not a source, so
    that what it gives depends on it alone.
    """

    min_response_score: int  # votes
    reservoir: int  # questions a site
    shares: Callable[[str, Sequence[int]], NDArray[np.float64]]  # a reservoir's, of ids: a prefix and a number
    subreddits: Subreddits | None = None


class ReadFunction(Protocol):
    """Read a dump, a folder or one file, and yield candidates and dropped rows.

    Without `early` nothing is dropped for its votes. Only the readers of Stack Exchange and Reddit use it.
    """

    def __call__(
        self, dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
    ) -> Iterator[Candidate | Dropped]: ...  # Raises DumpError


class Shard(NamedTuple):
    dump: Path  # the argument of `read`
    beside: tuple[Path, ...] = ()  # other files that `read` opens


class Shards(Protocol):
    """Return the shards of a dump in the order in which `read` reads them."""

    def __call__(self, dumps: Path) -> list[Shard]: ...  # Raises DumpError


class Source(Protocol):
    """A reader module.

    `read` yields each candidate of a dump, and each row that cannot become one with the reason, in the order of the
    files' paths. Candidate ids are SOURCE/SITE/ID; ID is unique in its site and stable between releases of the dump.
    `pieces` returns the shards that can be read separately. `read` of each shard in order yields the same records as
    `read` of the dump, except that a candidate may occur again in another shard.

    A module may also have these names:

    - `SMALL_SHARDS = True`: shards are many and small (pages, files). They are grouped up to scrape.part_megabytes, and
      a candidate whose id occurred in an earlier shard is dropped.
    - `IDS_HAVE_PATHS = True`: `read` takes `root: Path | None = None`, the folder of the whole dump. Ids contain the
      path of a file below it.
    - `recognizes(path: Path) -> bool`: whether a file is of this format. `lima inspect` calls it for readers of other
      packages; the built-in formats are in `detection`.
    - `decide(candidate, *, thresholds, to_markdown) -> Example | Prompt | Dropped`: the filter of a reader of another
      package; `thresholds` is its section filter.READER of params.yaml. Without it the dialogues are kept unchanged.
    """

    read: ReadFunction
    pieces: Shards


class Scraped(Record):
    """Counts of the stage scrape for a source: its stats.json."""

    source: str
    rows: NonNegativeInt
    questions: NonNegativeInt
    answers: NonNegativeInt
    candidates: NonNegativeInt
    dropped: dict[str, PositiveInt]  # rows a reason


def files(dumps: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the file `dumps`, or the files below it with these endings in any case, sorted, without hidden ones.

    Links to folders are followed, since large dumps are often on another disk, except a link to its own parents.
    """
    if not dumps.exists():
        raise DumpError(f"there is no {dumps}; put the dump there, or correct the path")
    if dumps.is_file():
        return [dumps]
    seen = sorted(path for path in _below(dumps) if path.name.lower().endswith(suffixes))
    if not seen:
        raise DumpError(
            f"{dumps} holds no file named *{' or *'.join(suffixes)}; put the dump there, or correct the path"
        )
    return seen


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files that are not hidden. A broken link raises DumpError; a link to its own parents is skipped."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.exists():
            raise DumpError(f"{path} is a link to {path.readlink()}, which is not there; correct the link or remove it")
        if not path.is_dir():
            yield path
        elif not folder.resolve().is_relative_to(path.resolve()):
            yield from _below(path)


def below(path: Path, root: Path) -> str:
    """Return a file's path below the root of its dump, without its ending, as a part of ids: "a/train".

    It includes the folder, since files in different folders often share a name.
    """
    path = Path(path.name) if path == root else path.relative_to(root)
    if path.suffix.lower() in (".gz", ".zst"):
        path = path.with_suffix("")
    return path.with_suffix("").as_posix()


def bad_row(place: str, detail: str, raw: bytes) -> Dropped:
    """Return an unreadable row at FILE:ROW; bytes that are not UTF-8 are escaped as \\xNN."""
    return Dropped(reason=BAD_ROW, detail=detail, place=place, raw=raw.decode("utf-8", errors="backslashreplace"))


def digest(raw: bytes) -> str:
    """SHA-256 of a raw record, hexadecimal."""
    return hashlib.sha256(raw).hexdigest()
