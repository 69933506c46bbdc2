"""Stack Exchange reader: one candidate per question, with its best answer (LIMA §2.1).

Reads both generations of the format: with or without byte order mark, any line ends, tags as `<a><b>` or `|a|b|`, with
or without a license per row, rows in any order. The layout and numbers of every row are checked; only selected posts
are decoded. If the best answer then is unreadable, it is reported as a bad row and the next answer is used.

A candidate's URL is the answer's, or the question's if there is no answer. Author and license name both question and
answer, because either can become part of an example.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from lima.display import visible_line
from lima.records import Candidate, Dropped
from lima.sources.base import DumpError, Prefilter, ReadStats, Shard, files
from lima.sources.blocks import Fill
from lima.sources.stack_exchange.reader import archive, row_parser
from lima.sources.stack_exchange.reader.archive import ARCHIVE, POSTS, USERS
from lima.sources.stack_exchange.reader.bzip2_stream import Table
from lima.sources.stack_exchange.reader.join import SiteJoin
from lima.sources.stack_exchange.reader.outcomes import decode_outcomes
from lima.sources.stack_exchange.reader.selected import SelectedPosts
from lima.sources.stack_exchange.reader.table import pages
from lima.sources.stack_exchange.reader.texts import Texts
from lima.sources.stack_exchange.reader.users import Authors

# large sites are published as one archive per table
SPLIT = re.compile(r"(?P<site>.+)-(?P<table>Badges|Comments|PostHistory|PostLinks|Posts|Tags|Users|Votes)\.7z", re.I)


@dataclass(frozen=True)
class Dump:
    """The files of a site."""

    posts: Path
    users: Path | None


def read(
    dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    """Read archives (.7z) and Posts.xml files. `license` applies to rows without a license and a creation date."""
    for name, dump in sites(dumps).items():
        prefix = f"{source}/{name}/"
        with (
            TemporaryDirectory(prefix="lima-") as temporary,
            archive.tables(dump.posts, dump.users, folder=Path(temporary)) as tables,
            SiteJoin(Path(temporary), early=early, prefix=prefix) as site,
            Texts(tables[POSTS].file, Path(temporary), early=early, prefix=prefix) as texts,
        ):
            table = tables[POSTS]
            yield from _index(table, site, texts, tally)
            with Authors(Path(temporary), site.owners) as authors:
                if USERS in tables:
                    with _watched(tables[USERS]) as fill:
                        yield from authors.read(fill, shown=tables[USERS].shown)
                selected = SelectedPosts(source, name, license, table.shown, texts, early)
                yield from _outcomes(site, selected, authors)


def pieces(dumps: Path) -> list[Shard]:
    """One shard per site."""
    return [Shard(dump.posts, (dump.users,) if dump.users else ()) for dump in sites(dumps).values()]


def sites(dumps: Path) -> dict[str, Dump]:
    """Files by site name, from paths such as SITE.7z, SITE-Posts.7z (one archive per table), or SITE/Posts.xml."""
    dumps_by_site: dict[str, Dump] = {}
    for path in files(dumps, (ARCHIVE, POSTS.lower())):
        split = SPLIT.fullmatch(path.name)
        if split and split["table"].lower() != "posts":
            continue
        packed = path.name.lower().endswith(ARCHIVE)
        name = (split["site"] if split else path.name[: -len(ARCHIVE)]) if packed else path.resolve().parent.name
        users = path.with_name(f"{name}-{USERS}".replace(".xml", ARCHIVE) if packed else USERS)
        dump = Dump(path, users if users.exists() and (split or not packed) else None)
        other = dumps_by_site.setdefault(name, dump)
        if other != dump:
            raise DumpError(f"two dumps of site {name}: {other.posts} and {path}; keep one of them")
    if not dumps_by_site:
        raise DumpError(f"no archive in {dumps} contains posts; add SITE-Posts{ARCHIVE} or SITE{ARCHIVE}")
    return dumps_by_site


@contextmanager
def _watched(table: Table) -> Iterator[Fill]:
    """The table's bytes, with a progress bar."""
    with (
        table.open() as fill,
        tqdm(total=table.size, unit="B", unit_scale=True, disable=None, desc=visible_line(table.shown)) as bar,
    ):

        def counted(view: memoryview) -> int:
            count = fill(view)
            bar.update(count)
            return count

        yield counted


def _index(table: Table, site: SiteJoin, texts: Texts, tally: ReadStats) -> Iterator[Dropped]:
    """Read and join all posts; yields the unreadable rows."""
    lines, before = 1, tally.rows
    with _watched(table) as fill:
        for page in pages(fill, shown=table.shown):
            yield from page.bad
            site.add_unreadable_questions(page.unreadable_questions)
            tally.rows += page.rows
            tally.questions += int(np.count_nonzero(page.posts["kind"] == row_parser.QUESTION))
            tally.answers += int(np.count_nonzero(page.posts["kind"] == row_parser.ANSWER))
            if page.block:
                texts.keep(page.block, page.posts)
                site.add(page.posts)
                lines = max(lines, int(page.posts["line"].max(initial=0)) + 1)
    if tally.rows == before:
        raise DumpError(f"no posts in {table.shown}; download the dump again or remove it from the dumps")
    site.join(lines=lines)
    texts.flush()
    if table.file is None and (missed := site.missed()):
        with _watched(table) as fill:
            texts.fetch(fill, missed)


def _outcomes(site: SiteJoin, selected: SelectedPosts, authors: Authors) -> Iterator[Candidate | Dropped]:
    for part in site.outcomes():
        yield from selected.records(
            decode_outcomes(part, early=selected.early, shown=selected.shown), authors.names(part["owner"])
        )
