"""Reading Stack Exchange in one process: speed beside what scripts use, an archive beside its decoder, memory, size.

Rows are those of the real dumps, where ../shared/realdata is there, else those of the shipped corpus; a claim says
which. They are written over and over under new ids, the sites' rows shuffled.
"""

import os
import random
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import py7zr
from lxml import etree
from rapidgzip import IndexedBzip2File

from benchmarks.claims import Claim, claim, in_turn
from benchmarks.slices import in_slices
from lima import config
from lima.curation import hashing
from lima.parallel.jobs import Ended
from lima.sources import base
from lima.sources.stack_exchange import reader
from lima.sources.stack_exchange.reader import rows
from lima.sources.stack_exchange.reader.archive import Table
from lima.stages import scrape

REAL = Path("../shared/realdata/stack_exchange")
PUBLISHED = ("beer.stackexchange.com.7z", "iot.stackexchange.com.7z")  # whole, as they come
SHIPPED = Path("corpus/dumps")
Rows = Callable[[Path], Iterator[Mapping[str, str]]]
SMALL, MIDDLE, LARGE, HUGE = 50, 200, 500, 5000  # MB; an exchange has 560 on average
ARCHIVES = 4  # read by the stage
NUMBERS = re.compile(rb'\b(Id|ParentId|AcceptedAnswerId|OwnerUserId)="(\d+)"')
# prints its own peak: getrusage would tell of the process it was born from
ALONE = """
import re, sys
from pathlib import Path
from benchmarks.scrape import read, rule
read(Path(sys.argv[1]), rule())
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def measure() -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as name:
        rows, kind = source()

        def sized(*sizes: int) -> dict[int, Path]:
            return {size: grown(Path(name) / f"{size}.example/Posts.xml", rows, size) for size in sizes}

        files = sized(MIDDLE, LARGE)
        yield from beside_parsers(files[MIDDLE], kind)
        if REAL.exists():
            yield from as_published(Path(name))
        yield from beside_the_decoder(files, kind)
        yield from of_a_large_site({LARGE: files[LARGE]} | sized(SMALL, HUGE), kind)


def rule() -> base.Prefilter:
    p = config.load().filter
    return base.Prefilter(
        min_response_score=p.stack_exchange.prefilter.min_response_score,
        reservoir=p.unfiltered_reservoir,
        shares=partial(hashing.fast_hash_uniforms, p.seed),
    )


def read(path: Path, early: base.Prefilter) -> None:
    for _ in reader.read(path, source="x", license="", tally=base.ReadStats(), early=early):
        pass


def beside_parsers(posts: Path, kind: str) -> Iterator[Claim]:
    """Like beside like, visits beside visits and candidates beside candidates; and candidates beside mere visits."""

    def visited() -> None:
        with posts.open("rb") as file:
            for _ in rows.scan(Table(str(posts), file), rows.POSTS):
                pass

    sides: dict[str, tuple[Callable[[], object], bool]] = {
        "rows visited, their numbers read": (visited, False),
        "candidates and what was dropped": (partial(read, posts, rule()), True),
        "candidates and what was dropped, against rows only visited": (partial(read, posts, rule()), False),
    }
    for words, parsed, pairs, target in (
        ("lxml.iterparse", by_iterparse, 3, "≥ 2"),
        ("ElementTree.fromstring a line", by_line, 3, "≥ 2"),
    ):
        for what, (ours, joined) in sides.items():
            peer = partial(script if joined else visits, parsed, posts)
            seconds = in_turn(ours, peer, pairs=pairs)
            speeds = {side: MIDDLE / taken for side, taken in zip(("ours", "peer"), seconds, strict=True)}
            yield claim(f"Posts.xml of {kind}, {what}: {words}", **speeds, unit="MB/s", target=target)


def by_iterparse(posts: Path) -> Iterator[Mapping[str, str]]:
    for _, row in etree.iterparse(str(posts), tag="row"):
        yield row.attrib
        row.clear()


def by_line(posts: Path) -> Iterator[Mapping[str, str]]:
    with posts.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if line.lstrip().startswith("<row "):
                yield ET.fromstring(line).attrib  # noqa: S314 - rows that were written here


def visits(parsed: Rows, posts: Path) -> None:
    for _ in parsed(posts):
        pass


def script(parsed: Rows, posts: Path) -> list[dict[str, object]]:
    """What most scripts do: questions and best answers in dictionaries, then those with votes enough."""
    least = config.load().filter.stack_exchange.prefilter.min_response_score
    questions: dict[str, dict[str, object]] = {}
    best: dict[str, tuple[int, str, str | None]] = {}
    for row in parsed(posts):
        if row["PostTypeId"] == "1":
            names = ("Id", "Title", "Body", "Tags", "Score", "OwnerUserId", "CreationDate", "ClosedDate")
            questions[row["Id"]] = {name: row.get(name) for name in names}
        elif row["PostTypeId"] == "2" and int(row["Score"]) > best.get(row["ParentId"], (-999, "", None))[0]:
            best[row["ParentId"]] = int(row["Score"]), row["Body"], row.get("OwnerUserId")
    found = []
    for number, question in questions.items():
        score, body, owner = best.get(number, (-999, "", None))
        if score >= least and not question["ClosedDate"]:
            found.append(question | {"Response": body, "ResponseScore": score, "Answerer": owner})
    return found


def beside_the_decoder(files: Mapping[int, Path], kind: str) -> Iterator[Claim]:
    """The whole way from an archive of each size, and the stage over several, against decoding them to nowhere."""
    words = "to candidates, against parallel bzip2 decoding alone"
    archives = {size: packed(posts) for size, posts in files.items()}
    for size, archive in archives.items():
        ours, peer = in_slices(partial(read, archive, rule()), partial(decode, stream(archive)), times=2000 // size)
        yield claim(f"a 7z archive of {size} MB of {kind} {words}", ours=ours, peer=peer, unit="s", target="≤ 1.35")
    size, archive = next(iter(archives.items()))
    several = archive.parent / "several"
    several.mkdir()
    for number in range(ARCHIVES):
        os.link(archive, several / f"site{number}.example.7z")
    ours, peer = in_slices(partial(staged, several), partial(decode, stream(archive)), times=3)
    what = f"{ARCHIVES} of {size} MB {words}, by the stage's workers, results written"
    yield claim(what, ours=ours, peer=ARCHIVES * peer, unit="s", target="≤ 1.35")


def as_published(folder: Path) -> Iterator[Claim]:
    """An archive of all eight tables, a quarter of which are posts: of real ones, in the proportions of real ones."""
    tables: dict[str, list[Path]] = {}
    for site in PUBLISHED:
        with py7zr.SevenZipFile(REAL / site) as archive:
            archive.extract(folder / site)
        for path in sorted((folder / site).iterdir()):
            tables.setdefault(path.name, []).append(path)
    sizes = {name: sum(file.stat().st_size for file in files) for name, files in tables.items()}
    unpacked = folder / "published.example"
    for name, files in tables.items():
        grown(unpacked / name, rows_of(files), MIDDLE * sizes[name] / sizes["Posts.xml"])
    whole = packed(*sorted(unpacked.iterdir()))
    end = sum(path.stat().st_size for path in unpacked.iterdir() if path.name <= "Users.xml")  # as they are packed
    ours, peer = in_slices(partial(read, whole, rule()), partial(decode, stream(whole), end), times=3)
    words = f"a 7z archive as published, its posts {MIDDLE} of {end / 1e6:.0f} MB, to candidates with their authors"
    yield claim(f"{words}, against parallel bzip2 decoding alone", ours=ours, peer=peer, unit="s", target="≤ 1.35")


def packed(*tables: Path) -> Path:
    """An archive of tables in one bzip2 stream, as published ones."""
    path = tables[0].parent.with_suffix(".7z")
    with py7zr.SevenZipFile(path, "w", filters=[{"id": py7zr.FILTER_BZIP2}]) as archive:
        for table in tables:
            archive.write(table, table.name)
    return path


def staged(dumps: Path) -> None:
    """As the stage reads a source, but for joining the parts."""
    p = config.load()
    source = f"benchmark_{dumps.name}"  # no source of the checkout, whose unfinished parts planning would remove
    entry = p.sources["stack_exchange_stem"].model_copy(update={"dumps": str(dumps)})
    with tempfile.TemporaryDirectory() as store:
        jobs = scrape.plan(source, p.model_copy(update={"sources": {source: entry}}))
        for event in scrape.run([job.model_copy(update={"store": store}) for job in jobs], p):
            if isinstance(event, Ended) and event.reply.error:
                raise RuntimeError(event.reply.error)


def stream(archive: Path) -> Path:
    """The one bzip2 stream of an archive, as a file of its own."""
    alone = archive.with_suffix(".bz2")
    with archive.open("rb") as file:
        signature = file.read(32)  # behind which the stream lies; its bytes 12 to 20 are how long that is
        alone.write_bytes(file.read(int.from_bytes(signature[12:20], "little")))
    return alone


def decode(alone: Path, end: int | None = None) -> None:
    """All of a bzip2 stream, or up to a byte of what is unpacked."""
    done = 0
    with IndexedBzip2File(str(alone), parallelization=os.cpu_count()) as decoder:
        while (end is None or done < end) and (found := decoder.read(1 << 20)):
            done += len(found)


def of_a_large_site(files: Mapping[int, Path], kind: str) -> Iterator[Claim]:
    peak = subprocess.run([sys.executable, "-c", ALONE, str(files[HUGE])], check=True, capture_output=True).stdout
    yield claim(f"peak memory for {HUGE} MB of {kind}", ours=float(peak), peer=500, unit="MB", target="≤ 1")
    works = {size: partial(read, posts, rule()) for size, posts in files.items()}
    huge, large = in_slices(works[HUGE], works[LARGE], times=3)
    same, small = in_slices(works[LARGE], works[SMALL], times=10)
    # time per additional megabyte, since the reservoir of questions takes the same time at any size
    late, early = (huge / large - 1) / (HUGE - LARGE), (1 - small / same) / (LARGE - SMALL)
    words = f"each MB from {LARGE} to {HUGE} of {kind}, against each from {SMALL} to {LARGE}"
    yield claim(words, ours=1000 * large * late, peer=1000 * large * early, unit="ms", target="≤ 1.15")
    for size, taken in ((LARGE, large), (SMALL, small / same * large)):
        words = f"all of {size} MB, against {HUGE} MB, of {kind}"
        yield claim(words, ours=size / taken, peer=HUGE / huge, unit="MB/s", target="≥ 0.85")


def source() -> tuple[list[tuple[int, bytes]], str]:
    """Rows of posts, and whose they are."""
    files, kind = sorted(REAL.glob("*/Posts.xml")), "real rows"
    if not files:
        files, kind = sorted(SHIPPED.glob("*/*/Posts.xml")), "the corpus's rows"
    return rows_of(files), kind


def rows_of(files: list[Path]) -> list[tuple[int, bytes]]:
    """With the number of their site, shuffled."""
    rows = [
        (site, line.strip())
        for site, file in enumerate(files)
        for line in file.read_bytes().splitlines()
        if line.strip().startswith(b"<row ") and line.strip().endswith(b"/>")
    ]
    random.Random(17).shuffle(rows)
    return rows


def grown(path: Path, rows: list[tuple[int, bytes]], megabytes: float) -> Path:
    """A table of so many megabytes: the rows again and again, each time with ids of their own."""
    path.parent.mkdir(exist_ok=True)
    written, copy, name = 0, 0, path.stem.lower().encode()
    with path.open("wb") as out:
        out.write(b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\n<%s>\n' % name)
        while written < megabytes * 1_000_000:
            lines = []
            for site, row in rows:
                shift = (copy * 16 + site) * 20_000
                lines.append(
                    b"  " + NUMBERS.sub(lambda m: b'%s="%d"' % (m[1], int(m[2]) % 20_000 + shift), row, count=4)  # noqa: B023
                )
            written += out.write(b"\n".join([*lines, b""]))
            copy += 1
        out.write(b"</%s>\n" % name)
    return path
