"""Articles of wikiHow from saved pages and from WARC files (LIMA §2.1).

A crawl has many other pages: of users and categories, quizzes, errors, redirects, other sites. Each such
page is dropped as `no_article` and says what it is. What is broken is a bad row: an empty file, a page that is too
large, a record that cannot be read; its place is FILE@OFFSET, the offset of the record in the WARC file.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from lxml import etree

from lima.records import Candidate, Dropped, Provenance
from lima.sources.base import Prefilter, ReadStats, Shard, bad_row, digest, files
from lima.sources.wikihow.reader import warc
from lima.sources.wikihow.reader.page import NoArticle, body, words

SMALL_SHARDS = True
SUFFIXES = (".html", ".htm", *warc.SUFFIXES)
HTML = ("text/html", "application/xhtml+xml", "application/http", "")  # "": unknown
# English articles; for some years a few subjects had addresses of their own; .example is nobody's, for pages made up
HOSTS = re.compile(
    r"(?:(?:www\.|m\.)?wikihow\.(?:com|example)|(?:www\.)?wikihow\.(?:fitness|health|legal|life|mom|pet|tech))"
)
SPACES = "User|User[_ ]kudos|Special|Category|wikiHow|File|Image|Help|MediaWiki|Template|Project|Portal|Video"
FOLDERS = "Quizz?|Quizzes|Course|Games?|Experts?|x|extensions|skins|api\\.php|index\\.php"
OTHER_PAGES = re.compile(rf"(?:(?:{SPACES})(?:[_ ]talk)?|Talk|Discussion):|(?:{FOLDERS})(?:/|$)", re.IGNORECASE)


class ArticlePage(NamedTuple):
    place: str
    raw: bytes
    url: str  # where it was crawled; "" of a saved page


class Unreadable(ValueError):
    """What is wrong with a page that nobody can read."""


def read(
    dumps: Path, *, source: str, license: str, tally: ReadStats, early: Prefilter | None = None
) -> Iterator[Candidate | Dropped]:
    seen: set[str] = set()
    for page in _pages(dumps):
        tally.rows += 1
        if isinstance(page, Dropped):
            yield page
            continue
        try:
            candidate = _article(page, source=source, license=license)
        except NoArticle as error:
            yield Dropped(reason="no_article", detail=str(error), place=page.place, raw="")
            continue
        except Unreadable as error:
            yield bad_row(page.place, str(error), page.raw)
            continue
        tally.questions += 1
        tally.answers += 1
        if candidate.id in seen:
            yield Dropped(reason="duplicate", detail=f"{candidate.id} came before", place=page.place, raw="")
            continue
        seen.add(candidate.id)
        yield candidate


def pieces(dumps: Path) -> list[Shard]:
    """Each page, and each WARC file, by itself."""
    return [Shard(path) for path in files(dumps, SUFFIXES)]


def _pages(dumps: Path) -> Iterator[ArticlePage | Dropped]:
    for path in files(dumps, SUFFIXES):
        if path.name.lower().endswith(warc.SUFFIXES):
            for record in warc.read(path):
                yield _crawled(record, f"{path}@{record.offset}")
        elif (size := path.stat().st_size) > warc.MAX_PAGE:
            yield bad_row(f"{path}:1", f"a page of {size:,} bytes, at most {warc.MAX_PAGE:,}", b"")
        else:
            yield ArticlePage(f"{path}:1", path.read_bytes(), "")


def _crawled(record: warc.WarcResponse | warc.BrokenRecord, place: str) -> ArticlePage | Dropped:
    if isinstance(record, warc.BrokenRecord):
        return bad_row(place, record.reason, b"")
    status = record.status or 200
    fault = None
    if record.kind == warc.REVISIT:
        fault = "a revisit, whose page is another record's"
    elif 300 <= status < 400:
        fault = f"a redirect, status {status}"
    elif not 200 <= status < 300:
        fault = f"an error response, status {status}"
    elif record.kind not in HTML:
        fault = f"{record.kind} is not HTML"
    if fault:
        return Dropped(reason="no_article", detail=f"{fault}: {record.url}", place=place, raw="")
    return ArticlePage(place, record.body, record.url)


def _article(found: ArticlePage, *, source: str, license: str) -> Candidate:
    if found.url:
        _slug(found.url)  # most pages of a crawl are rejected by their address, before parsing
    page = etree.fromstring(found.raw, etree.HTMLParser(encoding="utf-8")) if found.raw.strip() else None
    if page is None:
        raise Unreadable("there is no element in it")
    own = next(iter(page.xpath('//link[@rel="canonical"]/@href | //meta[@property="og:url"]/@content')), found.url)
    slug = _slug(own)
    title = words(next(iter(page.xpath("//h1")), None))
    if not title:
        raise NoArticle("there is no h1 with a title")
    categories = [words(a) for a in page.xpath('//*[@id="breadcrumb"]//a[contains(@href, "Category:")]')]
    if not any(categories):
        raise NoArticle("there are no breadcrumbs that name its category")
    return Candidate(
        id=f"{source}/{categories[0]}/{slug}",
        title=title,
        description="",
        response=body(page),
        later_turns=(),
        markup="html",
        score=None,
        response_score=None,
        tags=tuple(categories),
        provenance=Provenance(
            source=source,
            site=categories[0],
            id=slug,
            url=own,
            author="wikiHow contributors",
            license=license,
            digest=digest(found.raw),
        ),
    )


def _slug(url: str) -> str:
    """An article's name in its address. Raises NoArticle where the address is that of something else."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise NoArticle(f"its address is none: {url!r:.100}") from error
    name = parts.path.strip("/")
    if not name:
        raise NoArticle("there is no canonical link with its address" if not url else f"no article's address: {url}")
    if host and not HOSTS.fullmatch(host):
        raise NoArticle(f"another site, {host}")
    if other := OTHER_PAGES.match(unquote(name)):
        raise NoArticle(f"a page of {other[0].rstrip('/:')}: {url}")
    if re.search(r"(?:^|&)(?:action|diff|oldid|printable)=", parts.query):
        raise NoArticle(f"a view of a page, not the page: {url}")
    return name.rpartition("/")[2]
