"""Rows of published chat data sets as candidates; shared by the readers `chat`, `lima` and `alpaca` (LIMA §4).

`containers` has the file formats, `chat_layouts` the layouts. The layout of a file is that of most of its first rows; a
row in another layout is a bad row. A file whose layout is unknown or not accepted raises DumpError.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

from lima.records import Candidate, Dropped, Provenance, Turn
from lima.sources import chat_layouts as layouts
from lima.sources import containers
from lima.sources.base import UNNAMED, DumpError, ReadStats, Shard, bad_row, below, digest
from lima.sources.chat_layouts import Dialogue, Layout, Row, Unfit
from lima.sources.containers import RawRow
from lima.sources.json_rows import RowError

FIRST = 100  # readable rows that decide a file's layout


class Position(NamedTuple):
    """The site of a row, and its number in the candidate's id."""

    site: str
    number: int  # counted from 0


class PositionFunction(Protocol):
    """Return the position of a row; `index` counts the rows of its file from 0."""

    def __call__(self, path: Path, row: Row, index: int) -> Position: ...


class SourceInfo(NamedTuple):
    """The settings of a source that its candidates depend on."""

    source: str
    license: str
    root: Path  # of the whole dump
    accepted: Sequence[Layout]


def pieces(dumps: Path) -> list[Shard]:
    """One shard per file."""
    return [Shard(path) for path in data_files(dumps)]


def data_files(dumps: Path) -> list[Path]:
    """Return the files with rows.

    Raises:
        DumpError: Two files of a folder differ in their ending only, so that their candidates would share ids.
    """
    paths = containers.files(dumps)
    names: dict[str, Path] = {}
    for path in paths:
        other = names.setdefault(below(path, dumps), path)
        if other != path:
            raise DumpError(
                f"{other} and {path} differ only in their ending, and probably hold the same rows; "
                "remove one of them, or rename it"
            )
    return paths


def read_files(
    dumps: Path, info: SourceInfo, position: PositionFunction, tally: ReadStats
) -> Iterator[Candidate | Dropped]:
    """Yield each row of a dump as a candidate, or as dropped with the reason."""
    for path in data_files(dumps):
        for index, row, layout in _rows(path, info.accepted):
            tally.rows += 1
            if isinstance(row.value, RowError):
                yield bad_row(row.place, str(row.value), row.raw)
                continue
            assert layout  # every file with a readable row has one
            try:
                value = row.value
                if not isinstance(value, Mapping) or not layouts.of(value, (layout,)):
                    raise RowError(f"not in {layout.name}, as the rows before, but {layouts.keys([row.value])}")
                dialogue = layout.parse(value)
            except RowError as error:
                yield bad_row(row.place, str(error), row.raw)
                continue
            tally.questions += 1
            try:
                layouts.check(dialogue)
            except Unfit as unfit:
                yield Dropped(reason=unfit.reason, detail=unfit.detail, place=row.place, raw="")
                continue
            candidate = _candidate(dialogue, _provenance(path, row.raw, value, position(path, value, index), info))
            tally.answers += bool(candidate.response)
            yield candidate


def _rows(path: Path, accepted: Sequence[Layout]) -> Iterator[tuple[int, RawRow, Layout | None]]:
    """Yield each row with its index and its file's layout; None for unreadable rows before the layout is known."""
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


def _layout(path: Path, values: Sequence[object], accepted: Sequence[Layout]) -> Layout:
    """Return the layout of most rows.

    Raises:
        DumpError: The layout is unknown or not accepted.
    """
    names = Counter(layout.name for value in values if (layout := layouts.of(value)))
    if 2 * names.total() < len(values):
        unknown = [value for value in values if not layouts.of(value)]
        raise DumpError(f"{path} has {layouts.keys(unknown)}, which is not a chat layout; {layouts.WAY_OUT}")
    name = names.most_common(1)[0][0]
    layout = next((layout for layout in accepted if layout.name == name), None)
    if layout is None:
        others = " or ".join(layout.name for layout in accepted)
        raise DumpError(
            f"{path} has {name} ({layouts.keys(values)}), and its source's reader takes {others}; "
            "set `reader: chat` in params.yaml's sources"
        )
    return layout


def _provenance(path: Path, raw: bytes, row: Row, position: Position, info: SourceInfo) -> Provenance:
    """Author, address and license are the row's own if it has them; no layout implies them."""
    return Provenance(
        source=info.source,
        site=position.site,
        id=f"{below(path, info.root)}-{position.number}",
        url=_first_text(row, "url"),
        author=_first_text(row, "author") or UNNAMED,
        license=_first_text(row, "license", "licence") or info.license,
        digest=digest(raw),
    )


def _first_text(row: Row, *names: str) -> str:
    values = (row.get(name) for name in names)
    return next((text.strip() for text in values if isinstance(text, str) and text.strip()), "")


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
