"""Cache of the parts of a source below work/, keyed by a digest of all that their result depends on.

A restarted run reuses the parts that an interrupted one finished, if paths, bytes, code and parameters are the same.
Modification times do not matter.
"""

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import xxhash
from pydantic import NonNegativeInt, PositiveInt

from lima import jsonl, records, storage, text
from lima.records import Candidate, Record
from lima.sources import registry, remote, shards
from lima.sources.base import UNNAMED, Prefilter, ReadStats
from lima.sources.shards import Partition

CANDIDATES, DROPPED, COUNTS = "candidates.jsonl", "dropped.jsonl", "part.json"
UNFINISHED = ".unfinished"
BLOCK = 1 << 20  # bytes


class Job(Record):
    """A part, and the settings that its result depends on."""

    source: str
    reader: str
    license: str
    author: str  # credited where a row names none; "" where params.yaml names none either
    url: str
    root: str  # of the whole dump
    part: Partition
    min_response_score: int  # votes; this and the next four make the `Prefilter`
    reservoir: PositiveInt  # questions a site
    seed: NonNegativeInt  # of the hash that selects them
    answered: tuple[str, ...]  # subreddits
    asked: tuple[str, ...]
    code: str  # digest of the code that reads, where the jobs are made
    store: str  # the folder of the parts that are kept


class CachedShard(Record):
    """The result of a part: its part.json, which is written last."""

    folder: str
    again: bool  # reused from an earlier run; False in the file
    rows: NonNegativeInt
    questions: NonNegativeInt
    answers: NonNegativeInt
    candidates: tuple[NonNegativeInt, ...]  # a piece
    dropped: dict[str, PositiveInt]  # rows a reason
    sizes: tuple[NonNegativeInt, NonNegativeInt]  # bytes of candidates.jsonl and dropped.jsonl


def cached(job: Job, early: Prefilter) -> CachedShard:
    """Read a part, or return its cached result. Raises DumpError; then nothing of the part is cached."""
    store = Path(job.store)
    folder = store / identity(job)
    if kept := _whole(folder):
        return kept.model_copy(update={"again": True})
    store.mkdir(parents=True, exist_ok=True)
    with (
        storage.report_disk_full(store),
        tempfile.TemporaryDirectory(prefix=folder.name, suffix=UNFINISHED, dir=store) as working,
    ):
        kept = _read(job, early, Path(working), folder)
        shutil.rmtree(folder, ignore_errors=True)  # torn by a crash of the machine
        Path(working, "part").rename(folder)
    return kept


def credited(candidate: Candidate, *, author: str, url: str) -> Candidate:
    """Return the candidate with the author and address of its source if its row has none."""
    found = candidate.provenance
    missing = {}
    if author and found.author in ("", UNNAMED):
        missing["author"] = author
    if url and not found.url:
        missing["url"] = url
    return candidate.model_copy(update={"provenance": found.model_copy(update=missing)}) if missing else candidate


def remove_partial(store: Path) -> None:
    """Remove the incomplete folders of killed workers."""
    for left_over in store.glob(f"*{UNFINISHED}"):
        shutil.rmtree(left_over, ignore_errors=True)


def code(reader: str, *others: Path) -> str:
    """Digest of a reader's source code, of the records that it writes, and of other files."""
    here = Path(__file__).parent
    own = [*sorted(here.glob("*.py")), *sorted((here / reader / "reader").glob("*.py"))]
    texts = sorted(Path(text.__file__).parent.glob("*.py"))
    total = xxhash.xxh3_128()
    for path in [*own, *texts, Path(records.__file__), *others]:
        total.update(f"{path.name}\0{_digest(path)}\0".encode())
    return total.hexdigest()


def identity(job: Job) -> str:
    """Digest of the job without its store, and of the path and content of each file."""
    total = xxhash.xxh3_128(job.model_dump_json(exclude={"store"}).encode())
    for path in shards.files(job.part.pieces):
        total.update(f"{path}\0{remote.version(path) or _digest(path)}\0".encode())
    return total.hexdigest()


def _digest(path: Path) -> str:
    total = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def _whole(folder: Path) -> CachedShard | None:
    """Return the cached result if its files have the sizes with which they were closed, else None."""
    counts = folder / COUNTS
    if not counts.exists():
        return None
    kept = CachedShard.model_validate_json(counts.read_bytes())
    there = [path.stat().st_size if path.exists() else -1 for path in (folder / CANDIDATES, folder / DROPPED)]
    return kept if there == list(kept.sizes) else None


def _read(job: Job, early: Prefilter, working: Path, folder: Path) -> CachedShard:
    read = registry.reader(job.reader, root=remote.location(job.root))
    tally, dropped, candidates = ReadStats(), Counter[str](), []
    (working / "part").mkdir()
    with (
        (working / "part" / CANDIDATES).open("w", encoding="utf-8") as offered,
        (working / "part" / DROPPED).open("w", encoding="utf-8") as left_out,
    ):
        for dump, *_ in job.part.pieces:
            candidates.append(0)
            for record in read(remote.location(dump), source=job.source, license=job.license, tally=tally, early=early):
                if isinstance(record, Candidate):
                    candidates[-1] += 1
                    offered.write(credited(record, author=job.author, url=job.url).model_dump_json() + "\n")
                else:
                    dropped[record.reason] += record.rows
                    left_out.write(record.model_dump_json() + "\n")
        for file in (offered, left_out):
            file.flush()
            os.fsync(file.fileno())
    kept = CachedShard(
        folder=str(folder),
        again=False,
        rows=tally.rows,
        questions=tally.questions,
        answers=tally.answers,
        candidates=tuple(candidates),
        dropped=dict(dropped),
        sizes=(Path(offered.name).stat().st_size, Path(left_out.name).stat().st_size),
    )
    jsonl.write(working / "part" / COUNTS, [kept])
    return kept
