"""Stack Exchange: one candidate a question, with its best answer (LIMA §2.1).

Both generations of the format are read: a byte order mark or none, any line ends, `<a><b>` or `|a|b|` as tags, a
licence a row or none, rows in any order. A row's frame and numbers are checked as it goes by; only the posts that are
chosen are decoded. Where the best answer turns out to be unreadable then, it is a bad row and the next one is the best.

The address is the answer's, which leads to the question's page; the question's where there is no answer. Author and
licence are told for question and answer, since either may become part of an example.
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
from lima.sources.stack_exchange import archive, row_parser
from lima.sources.stack_exchange.archive import ARCHIVE, POSTS, USERS
from lima.sources.stack_exchange.bzip2_stream import Table
from lima.sources.stack_exchange.join import SiteJoin
from lima.sources.stack_exchange.outcomes import told
from lima.sources.stack_exchange.selected import SelectedPosts
from lima.sources.stack_exchange.table import pages
from lima.sources.stack_exchange.texts import Texts
from lima.sources.stack_exchange.users import Authors

# a large site comes as an archive a table
SPLIT = re.compile(r"(?P<site>.+)-(?P<table>Badges|Comments|PostHistory|PostLinks|Posts|Tags|Users|Votes)\.7z", re.I)


@dataclass(frozen=True)
class Dump:
    """The files of a site."""

    posts: Path
    users: Path | None


def read(
    dumps: Path, *, source: str, licence: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    """Archives (.7z) and Posts.xml files; `licence` stands where a row tells neither its licence nor its day."""
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
                        yield from authors.learn(fill, shown=tables[USERS].shown)
                chosen = SelectedPosts(source, name, licence, table.shown, texts, early)
                yield from _outcomes(site, chosen, authors)


def pieces(dumps: Path) -> list[Shard]:
    """Each site by itself."""
    return [Shard(dump.posts, (dump.users,) if dump.users else ()) for dump in sites(dumps).values()]


def sites(dumps: Path) -> dict[str, Dump]:
    """Each site's files, by its name: beer.stackexchange.com.7z, stackoverflow.com-Posts.7z, a Posts.xml's folder."""
    found: dict[str, Dump] = {}
    for path in files(dumps, (ARCHIVE, POSTS.lower())):
        split = SPLIT.fullmatch(path.name)
        if split and split["table"].lower() != "posts":
            continue
        packed = path.name.lower().endswith(ARCHIVE)
        name = (split["site"] if split else path.name[: -len(ARCHIVE)]) if packed else path.resolve().parent.name
        users = path.with_name(f"{name}-{USERS}".replace(".xml", ARCHIVE) if packed else USERS)
        dump = Dump(path, users if users.exists() and (split or not packed) else None)
        other = found.setdefault(name, dump)
        if other != dump:
            raise DumpError(f"{other.posts} and {path} are both {name}; keep one of them")
    if not found:
        raise DumpError(
            f"{dumps} holds archives of other tables, none of posts; put SITE-{POSTS} or SITE{ARCHIVE} there"
        )
    return found


@contextmanager
def _watched(table: Table) -> Iterator[Fill]:
    """The table's bytes, and a bar that shows how many have gone by."""
    with (
        table.open() as fill,
        tqdm(total=table.size, unit="B", unit_scale=True, disable=None, desc=visible_line(table.shown)) as bar,
    ):

        def counted(view: memoryview) -> int:
            got = fill(view)
            bar.update(got)
            return got

        yield counted


def _index(table: Table, site: SiteJoin, texts: Texts, tally: ReadStats) -> Iterator[Dropped]:
    """Read all posts and join them; yield those that are no rows."""
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
        raise DumpError(f"{table.shown} holds no posts; fetch the dump again, or take it out of the dumps")
    site.join(lines=lines)
    texts.flush()
    if table.file is None and (missed := site.missed()):
        with _watched(table) as fill:
            texts.fetch(fill, missed)


def _outcomes(site: SiteJoin, chosen: SelectedPosts, authors: Authors) -> Iterator[Candidate | Dropped]:
    for part in site.outcomes():
        yield from chosen.records(told(part, early=chosen.early, shown=chosen.shown), authors.names(part["owner"]))
