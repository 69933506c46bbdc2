"""Tasks of Super-Natural Instructions: a definition, and instances of input and output (LIMA §2.1).

A file is one task, in the published layout (`Definition` and `output` are lists) or an older one (`Definition` is a
string, instances have no id, input may be null). Each instance is a candidate: the definition its title, the input its
description, the first output its response. Ids hold the task's path below the dump, since tasks in different folders
may share a name. What belongs to the task as a whole (categories, output languages, licenses) goes into tags.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from lima.records import Candidate, Dropped, Provenance
from lima.sources import json_rows
from lima.sources.base import DumpError, Prefilter, ReadStats, Shard, bad_row, below, digest, files
from lima.sources.json_rows import JsonRow, RowError

SMALL_SHARDS = True
IDS_HAVE_PATHS = True
REPOSITORY = "https://github.com/allenai/natural-instructions/blob/master/tasks"
UNKNOWN = "Unknown"  # what the key Instance License says of a third of the tasks

NO_INPUT = "<noinput>"  # what self-instruct's sets write in place of an empty input


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _empty_where_none(value: object) -> object:
    return "" if value is None or (isinstance(value, str) and value.strip().casefold() == NO_INPUT) else value


Words = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Task(JsonRow):
    definition: Words = Field(alias="Definition", min_length=1)
    categories: Words = Field(alias="Categories", default=[])
    languages: Words = Field(alias="Output_language", default=[])
    licenses: Words = Field(alias="Instance License", default=[])
    contributors: Words = Field(alias="Contributors", default=[])
    url: Words = Field(alias="URL", default=[])
    instances: list[object] = Field(alias="Instances")


class Instance(JsonRow):
    id: Annotated[str | None, BeforeValidator(_number_as_text)] = Field(default=None, min_length=1)
    input: Annotated[str, BeforeValidator(_empty_where_none)] = ""
    output: Words = Field(min_length=1)


def read(
    dumps: Path,
    *,
    source: str,
    license: str,
    tally: ReadStats,
    early: Prefilter | None = None,
    root: Path | None = None,
) -> Iterator[Candidate | Dropped]:
    for path, _ in pieces(dumps):
        raw = path.read_bytes()
        try:
            task = json_rows.check(json_rows.loads(raw), Task)
        except RowError as error:
            tally.rows += 1
            yield bad_row(f"{path}:1", f"no task: {error}", raw)
            continue
        about = _provenance(task, path, below(path, root or dumps), source=source, license=license)
        yield from _instances(task, path, about, tally=tally)


def pieces(dumps: Path) -> list[Shard]:
    """Each task by itself."""
    found = [path for path in files(dumps, (".json",)) if dumps.is_file() or path.name.startswith("task")]
    if not found:
        raise DumpError(f"{dumps} holds no file named task*.json; put the tasks there, or correct the path")
    return [Shard(path) for path in found]


def _instances(task: Task, path: Path, about: Provenance, *, tally: ReadStats) -> Iterator[Candidate | Dropped]:
    seen: set[str] = set()
    for number, value in enumerate(task.instances):
        place, raw = f"{path}:Instances[{number}]", json_rows.canonical(value)
        tally.rows += 1
        try:
            instance = json_rows.check(value, Instance)
        except RowError as error:
            yield bad_row(place, str(error), raw)
            continue
        tally.questions += 1
        tally.answers += bool(instance.output[0])
        own = instance.id or f"{path.stem}-{number}"
        if own in seen:
            yield Dropped(reason="duplicate", detail=f"id {own} came before", place=place, raw="")
            continue
        seen.add(own)
        yield Candidate(
            id=f"{about.source}/{about.site}/{own}",
            title=task.definition[0],
            description=instance.input,
            response=instance.output[0],
            later_turns=(),
            markup="markdown",
            score=None,
            response_score=None,
            tags=_tags(task),
            provenance=about.model_copy(update={"id": own, "digest": digest(raw)}),
        )


def _tags(task: Task) -> tuple[str, ...]:
    kinds = (("category", task.categories), ("language", task.languages), ("license", _known(task.licenses)))
    return tuple(f"{kind}:{value}" for kind, values in kinds for value in values)


def _provenance(task: Task, path: Path, site: str, *, source: str, license: str) -> Provenance:
    """What all instances share; each adds its id and its digest."""
    addresses = re.findall(r"https?://[^\s;]+", " ".join(task.url))
    return Provenance(
        source=source,
        site=site,
        id="",
        url=addresses[0] if addresses else f"{REPOSITORY}/{path.stem}.json",
        author="; ".join(task.contributors),
        license="; ".join(_known(task.licenses)) or license,
        digest="",
    )


def _known(licenses: list[str]) -> list[str]:
    return [license for license in licenses if license != UNKNOWN]
