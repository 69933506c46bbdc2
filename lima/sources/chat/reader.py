"""Chat data sets in the layouts in which they are published, each row a dialogue (LIMA §4 trains on Alpaca so).

Containers are those of `containers`, layouts those of `layouts`. A file's layout is that of most of its first rows; a
row that does not fit it is a bad row. A file of which most rows have another layout is an error that names it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lima.records import Candidate, Dropped, Provenance, Turn
from lima.sources import containers
from lima.sources.base import UNNAMED, DumpError, Prefilter, ReadStats, Shard, bad_row, below, digest
from lima.sources.chat import layouts
from lima.sources.chat.layouts import Dialogue, Layout, Unfit
from lima.sources.containers import RawRow
from lima.sources.json_rows import RowError

FIRST = 100  # readable rows by which a file's layout is told
SITE = re.compile(r"[\w.+ -]{1,60}")  # what a row's `source` may be, so that it can be a site
SHARD = re.compile(r"-\d+-of-\d+")
UNNAMED_SPLITS = frozenset(("data", "dataset"))  # files that are named by their folder


class Place(NamedTuple):
    site: str
    number: int  # in the id, counted from 0


class Where(Protocol):
    """Site and number of a file's row, which is the `index`-th."""

    def __call__(self, path: Path, row: Any, index: int) -> Place: ...


def read(
    dumps: Path,
    *,
    source: str,
    licence: str,
    tally: ReadStats,
    early: Prefilter | None = None,
    root: Path | None = None,
) -> Iterator[Candidate | Dropped]:
    known = Known(source, licence, root or dumps, layouts.LAYOUTS)
    yield from read_files(dumps, known, _by_split, tally)


def pieces(dumps: Path) -> list[Shard]:
    """Each file by itself."""
    return [Shard(path) for path in data_files(dumps)]


class Known(NamedTuple):
    """What is known of a source before its files are read."""

    source: str
    licence: str
    root: Path  # of the whole dump
    accepted: Sequence[Layout]


def data_files(dumps: Path) -> list[Path]:
    """The files with rows. Raises DumpError where two of a folder differ in their ending only: their ids would too."""
    found = containers.files(dumps)
    names: dict[str, Path] = {}
    for path in found:
        other = names.setdefault(below(path, dumps), path)
        if other != path:
            raise DumpError(
                f"{other} and {path} differ only in their ending, and probably hold the same rows; "
                "remove one of them, or rename it"
            )
    return found


def read_files(dumps: Path, known: Known, where: Where, tally: ReadStats) -> Iterator[Candidate | Dropped]:
    for path in data_files(dumps):
        for index, row, layout in _rows(path, known.accepted):
            tally.rows += 1
            if isinstance(row.value, RowError):
                yield bad_row(row.place, str(row.value), row.raw)
                continue
            assert layout  # of every file with a readable row
            try:
                if not layouts.of(row.value, (layout,)):
                    raise RowError(f"not in {layout.name}, as the rows before, but {layouts.keys([row.value])}")
                dialogue = layout.parse(row.value)
            except RowError as error:
                yield bad_row(row.place, str(error), row.raw)
                continue
            tally.questions += 1
            try:
                layouts.check(dialogue)
            except Unfit as unfit:
                yield Dropped(reason=unfit.reason, detail=unfit.detail, place=row.place, raw="")
                continue
            candidate = _candidate(dialogue, _provenance(path, row, where(path, row.value, index), known))
            tally.answers += bool(candidate.response)
            yield candidate


def _rows(path: Path, accepted: Sequence[Layout]) -> Iterator[tuple[int, RawRow, Layout | None]]:
    """Each row with its index and the layout of its file; unreadable rows before the layout is known have none."""
    numbered = enumerate(containers.rows(path))
    first: list[tuple[int, RawRow]] = []
    for index, row in numbered:
        if isinstance(row.value, RowError):
            yield index, row, None
            continue
        first.append((index, row))
        if len(first) == FIRST:
            break
    if not first:
        return
    layout = _layout(path, [row.value for _, row in first], accepted)
    yield from ((index, row, layout) for index, row in chain(first, numbered))


def _layout(path: Path, values: Sequence[Any], accepted: Sequence[Layout]) -> Layout:
    """That of most rows. Raises DumpError where it is none of those accepted."""
    names = Counter(layout.name for value in values if (layout := layouts.of(value)))
    if 2 * names.total() < len(values):
        unknown = [value for value in values if not layouts.of(value)]
        raise DumpError(f"{path} has {layouts.keys(unknown)}, which is no layout of dialogues; {layouts.WAY_OUT}")
    name = names.most_common(1)[0][0]
    if (layout := next((one for one in accepted if one.name == name), None)) is None:
        others = " or ".join(one.name for one in accepted)
        raise DumpError(
            f"{path} has {name} ({layouts.keys(values)}), and its source's reader takes {others}; "
            "set `reader: chat` in params.yaml's sources"
        )
    return layout


def _by_split(path: Path, row: Any, index: int) -> Place:
    """Site: the set that a row says it comes from (`source`), else the split that its file's name or folder gives."""
    site = row.get("source")
    return Place(site if isinstance(site, str) and SITE.fullmatch(site) else split(path), index)


def split(path: Path) -> str:
    """ "train" of train.jsonl, of data/train-00000-of-00002.parquet, and of train/data-00000-of-00001.arrow."""
    name = SHARD.sub("", below(path, path))
    return path.absolute().parent.name if name in UNNAMED_SPLITS else name


def _provenance(path: Path, row: RawRow, place: Place, known: Known) -> Provenance:
    """Author, address and licence are the row's own where it has them; none follows from the layout."""
    return Provenance(
        source=known.source,
        site=place.site,
        id=f"{below(path, known.root)}-{place.number}",
        url=_own(row.value, "url"),
        author=_own(row.value, "author") or UNNAMED,
        licence=_own(row.value, "licence", "license") or known.licence,
        digest=digest(row.raw),
    )


def _own(row: Mapping[str, Any], *names: str) -> str:
    found = (row.get(name) for name in names)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")


def _candidate(dialogue: Dialogue, provenance: Provenance) -> Candidate:
    turns = list(dialogue.turns)
    system = turns.pop(0).content if turns[0].role == "system" else ""
    title, *matter = layouts.apart(turns[0].content, dialogue.matter)
    later = [Turn.model_validate({"role": turn.role, "content": turn.content}) for turn in turns[2:]]
    return Candidate(
        id=f"{provenance.source}/{provenance.site}/{provenance.id}",
        title=title,
        description="".join(matter),
        response=turns[1].content if len(turns) > 1 else "",
        later_turns=tuple(later),
        markup="markdown",
        score=None,
        response_score=None,
        tags=(),
        provenance=provenance,
        system=system,
    )
