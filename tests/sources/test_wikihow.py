import time
from pathlib import Path

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lima.records import Candidate, Dropped
from lima.sources.base import DumpError, ReadStats, digest
from lima.sources.wikihow import reader
from lima.sources.wikihow.reader import warc
from lima.sources.wikihow.reader.page import NoArticle
from lima.text.html_to_markdown import to_markdown

REALDATA = Path(__file__).parents[2] / "../shared/realdata/wikihow"
SHIPPED = Path(__file__).parents[2] / "corpus/dumps/wikihow"

HEAD = '<head><link rel="canonical" href="https://www.wikihow.com/Boil-an-Egg"/></head>'
CRUMBS = """<ul id="breadcrumb" class="breadcrumbs"><li><a href="/Special:CategoryListing">Categories</a></li>
  <li><a href="/Category:Food-and-Entertaining">Food and Entertaining</a></li>
  <li><a href="/Category:Eggs">Eggs</a></li></ul>"""
TITLE = '<h1 id="section_0" class="title_lg"><a href="/Boil-an-Egg">How to Boil an Egg</a></h1>'
INTRO = """<div id="intro" class="section hasad sticky">
  <a class="pdf_link" href="#">Download Article</a>
  <div id="method_toc" class="en_toc"><p>Explore this Article</p></div>
  <div id="coauthor_byline" class="article_byline "><p>Last Updated: August 13, 2020</p></div>
  <div id="byline_hover"><p>This article was co-authored by our team.</p></div>
  <div class="mf-section-0"><p>This article shows how to boil an <a href="/Egg">egg</a>.</p>loose words<p>  </p></div>
  <div class="wh_ad_inner w_label"><p>Advertisement</p></div></div>"""
STEP = """<li id="step-id-00"><a class="stepanchor"></a><div class="mwimg  largeimage  "><img src="x.jpg"/>
  <div class="image_details"><span>{"smallUrl":"x"}</span></div></div><div class="step_num">1</div>
  <div class="step"><b class="whb">Boil water.</b> Use <span class="frac nowrap">1<sup>1</sup>⁄<sub>2</sub></span> pints
  &amp; a &lt;lid&gt;
  (<span class="frac nowrap"><sup>1</sup>⁄<sub>4</sub></span> <sup>2</sup>).
  <sup id="_ref-1" class="reference"><a href="#_note-1">[1]</a>
  <span class="ts_popup ">Research source</span></sup>
  <script>ads()</script><ul><li>Salt &amp; wait<!-- hidden -->, if you like.</li></ul></div>
  <div class="wh_ad_inner"><p>Ad</p></div></li>"""
QUIZ = '<div class="qz_container qz_mobile "><p>Method 1 Quiz</p><ul><li>Try again...</li></ul></div>'


def method(number: int, name: str) -> str:
    return f"""<div class="section steps  sticky"><h3 class="in-block"><div class="altblock"><div>Method
      <span>{number}</span><span class="method_of_count"> of 2: </span></div></div>
      <span class="mw-headline">{name}</span></h3>
      <div class="section_text"><ol class="steps_list_2">{STEP}</ol></div>{QUIZ}</div>"""


CUT = "".join(
    f'<div class="section {name} sticky"><h2>{name}</h2><ul><li>{name} is cut</li></ul></div>'
    for name in ("tips", "warnings", "thingsyoullneed", "video", "relatedwikihows", "references", "aboutthisarticle")
)
INGREDIENTS = """<div class="section ingredients sticky"><h2><span class="mw-headline">Ingredients</span></h2>
  <ul><li><div class="checkmark"></div>1 egg</li></ul></div>"""


def page(*body: str, head: str = HEAD, crumbs: str = CRUMBS, title: str = TITLE) -> str:
    return f"<html>{head}<body>{crumbs}{title}{''.join(body)}</body></html>"


def read(folder: Path) -> tuple[list[Candidate | Dropped], ReadStats]:
    tally = ReadStats()
    return list(reader.read(folder, source="wikihow", license="CC BY-NC-SA 3.0", tally=tally)), tally


def only(folder: Path, html: str) -> Candidate | Dropped:
    (folder / "page.html").write_text(html, encoding="utf-8")
    (row,), _ = read(folder)
    return row


EXPECTED_STEPS = (
    "<ol><li> <b>Boil water.</b> Use 1 1⁄2 pints &amp; a &lt;lid&gt; (1⁄4 <sup>2</sup>). "
    "<ul><li>Salt &amp; wait, if you like.</li></ul> </li></ol>"
)


def test_an_article_is_its_title_opening_and_steps_with_where_it_comes_from(tmp_path):
    text = page(INTRO, method(1, "Boiling"), CUT)
    row = only(tmp_path, text)
    assert isinstance(row, Candidate)
    assert (row.id, row.title, row.description) == (
        "wikihow/Food and Entertaining/Boil-an-Egg",
        "How to Boil an Egg",
        "",
    )
    assert row.tags == ("Food and Entertaining", "Eggs")
    assert row.provenance.site == "Food and Entertaining"
    assert row.provenance.url == "https://www.wikihow.com/Boil-an-Egg"
    assert row.provenance.author == "wikiHow contributors"
    assert row.provenance.digest == digest(text.encode())
    assert row.response == f"<p>This article shows how to boil an egg.</p>\n{EXPECTED_STEPS}"


def test_only_where_there_are_several_methods_each_has_a_heading(tmp_path):
    row = only(tmp_path, page(method(1, "Boiling"), method(2, "Poaching &amp; more")))
    assert row.response == f"<h2>Boiling</h2>\n{EXPECTED_STEPS}\n<h2>Poaching &amp; more</h2>\n{EXPECTED_STEPS}"


def test_ingredients_stay_and_part_from_the_steps_by_a_heading(tmp_path):
    ingredients = "<h2>Ingredients</h2>\n<ul><li> 1 egg</li></ul>"
    row = only(tmp_path, page(INGREDIENTS, method(1, "Boiling")))
    assert row.response == f"{ingredients}\n<h2>Steps</h2>\n{EXPECTED_STEPS}"
    row = only(tmp_path, page(INGREDIENTS, method(1, "Boiling"), method(2, "Poaching")))
    assert row.response.startswith(f"{ingredients}\n<h2>Boiling</h2>\n")


@pytest.mark.parametrize(
    ("html", "lacks"),
    [
        (page(method(1, "Boiling"), title=""), "there is no h1 with a title"),
        (page(method(1, "Boiling"), crumbs=""), "there are no breadcrumbs that name its category"),
        (page(method(1, "Boiling"), head=""), "there is no canonical link with its address"),
        (page(INTRO, CUT), "it has no steps"),
        (page(method(1, "Boiling"), head=HEAD.replace("www.", "de.")), "another site, de.wikihow.com"),
        (page(head=HEAD.replace("Boil", "User:Boil")), "a page of User: https://www.wikihow.com/User:Boil-an-Egg"),
    ],
)
def test_a_page_that_is_no_article_is_dropped_and_says_what_it_is(tmp_path, html, lacks):
    row = only(tmp_path, html)
    assert row == Dropped(reason="no_article", detail=lacks, place=f"{tmp_path}/page.html:1", raw="")


@pytest.mark.parametrize("html", ["", "<!-- nothing", " \n"])
def test_a_page_without_any_element_is_a_bad_row(tmp_path, html):
    row = only(tmp_path, html)
    assert row == Dropped(
        reason="bad_row", detail="there is no element in it", place=f"{tmp_path}/page.html:1", raw=html
    )


def test_a_page_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(warc, "MAX_PAGE", 4999)
    (tmp_path / "page.html").write_bytes(b"x" * 5000)
    (row,), tally = read(tmp_path)
    assert (row.reason, row.detail, tally.rows) == ("bad_row", "a page of 5,000 bytes, at most 4,999", 1)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://www.wikihow.com/Boil-an-Egg", None),
        ("http://m.wikihow.com/Boil-an-Egg?utm_source=x", None),
        ("https://www.wikihow.life/Boil-an-Egg", None),
        ("/Boil-an-Egg", None),
        ("https://www.wikihow.com/Category:Eggs", "a page of Category"),
        ("https://www.wikihow.com/User_talk:Ada", "a page of User_talk"),
        ("https://www.wikihow.com/Special%3ACategoryListing", "a page of Special"),
        ("https://www.wikihow.com/Quiz/Which-Egg-Are-You", "a page of Quiz"),
        ("https://www.wikihow.com/index.php?title=Boil-an-Egg", "a page of index.php"),
        ("https://www.wikihow.com/Boil-an-Egg?action=edit", "a view of a page, not the page"),
        ("https://www.wikihow.com/", "no article's address"),
        ("https://example.org/Boil-an-Egg", "another site, example.org"),
        ("https://notwikihow.com/Boil-an-Egg", "another site, notwikihow.com"),
        ("https://[", "its address is none"),
    ],
)
def test_an_address_tells_articles_from_other_pages(url, told):
    if told is None:
        assert reader._slug(url) == "Boil-an-Egg"
    else:
        with pytest.raises(NoArticle) as error:
            reader._slug(url)
        assert str(error.value).split(":")[0] == told or str(error.value).startswith(told)


OF_2014 = Path(__file__).with_name("wikihow_2014.html").read_text()

OF_2023 = Path(__file__).with_name("wikihow_2023.html").read_text()


@pytest.mark.parametrize("html", [OF_2014, OF_2023], ids=["2014", "2023"])
def test_other_generations_of_the_page_give_the_same_article(tmp_path, html):
    row = only(tmp_path, html)
    assert isinstance(row, Candidate)
    assert (row.id, row.title, row.tags) == (
        "wikihow/Food and Entertaining/Boil-an-Egg",
        "How to Boil an Egg",
        ("Food and Entertaining",),
    )
    assert to_markdown(row.response) == "\n\n".join(
        (
            "This article shows how to boil an egg.",
            "## Soft",
            "1. Boil water.\n   - Salt it.\n     - A pinch.\n2. Wait for 5 minutes.",
            "## Hard",
            "1. Wait longer.",
        )
    )


def test_an_article_saved_twice_is_offered_once(tmp_path):
    for name in ("a.html", "b.html"):
        (tmp_path / name).write_text(page(method(1, "Boiling")), encoding="utf-8")
    (first, second), tally = read(tmp_path)
    assert isinstance(first, Candidate)
    assert (second.reason, second.place) == ("duplicate", f"{tmp_path}/b.html:1")
    assert tally == ReadStats(rows=2, questions=2, answers=2)


def test_a_folder_without_pages_is_told(tmp_path):
    with pytest.raises(DumpError, match=r"holds no file named \*\.html or \*\.htm"):
        read(tmp_path)


@pytest.mark.parametrize(
    "step",
    [
        "<ul><li>" * 50_000,
        "<span>x" * 100_000,
        "<a>" * 50_000 + "</b>" * 50_000,
        "<p>x</p>" * 50_000,
        "&#xD800;&#0;\x00\x0b" * 10_000,
        '<div class="' + "x " * 500_000,
    ],
    ids=lambda step: step[:8],
)
def test_hostile_markup_neither_crashes_nor_hangs(tmp_path, step):
    """Each takes a fraction of a second, a quadratic walk takes many minutes."""
    start = time.process_time()
    row = only(tmp_path, page(INTRO, f'<div class="section steps"><ol><li>{step}'))
    assert time.process_time() - start < 60
    assert isinstance(row, Candidate | Dropped)


@settings(max_examples=50, deadline=None)
@given(st.binary() | st.text().map(lambda text: page(INTRO, method(1, text)).encode(errors="replace")))
def test_whatever_a_file_holds_it_is_one_candidate_or_one_bad_row(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("any") / "page.html"
    path.write_bytes(raw)
    rows, tally = read(path)
    assert len(rows) == tally.rows == 1


@pytest.mark.skipif(not REALDATA.exists(), reason="real pages are not here")
def test_every_real_page_is_an_article_with_as_many_steps_as_the_page_has():
    rows, tally = read(REALDATA)
    pages = sorted(REALDATA.glob("*.html"))
    assert tally.rows == tally.answers == len(rows) == len(pages) == 10
    for path, row in zip(pages, rows, strict=True):
        assert isinstance(row, Candidate), path
        steps = lxml.html.fragment_fromstring(row.response, create_parent="div").xpath("./ol/li")
        assert len(steps) == path.read_text().count('<div class="step">')
        assert not any(word in row.response for word in ("Research source", "smallUrl", "Quiz", "Advertisement", "["))


def test_every_page_that_the_repository_ships_is_an_article():
    found = list(reader.read(SHIPPED, source="wikihow", license="", tally=ReadStats()))
    assert [row for row in found if isinstance(row, Dropped)] == []
    assert len(found) == len(list(SHIPPED.glob("*.html"))) == 12
