"""The data card of an arm, read from the output of mix."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_pool
from drawing import DRAWN, drawn_once  # noqa: F401  a fixture
from parsed_page import CONTROLS, HOSTILE, Page, asks_nothing_of_the_network
from small_pool import write_params, write_scrape

from lima import config, jsonl
from lima.records import Candidate, Example, Turn
from lima.reporting import data_card, token_counts
from lima.reporting.dropped_rows import DroppedRows
from lima.stages import mix


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return small_pool.build()


def card(arm: str = "lima") -> str:
    mix.main(arm)
    p = config.load()
    rows = DroppedRows(p.report.card.dropped, seed=p.mix.seed)
    count = token_counts.counter(Path("data/base/smollm2-135m"))
    return data_card.render(p, data_card.read(p, arm, rows), count=count)


def test_equal_files_give_an_equal_card(checkout):
    first = card()
    DRAWN.clear()
    assert card() == first


def test_the_card_shows_every_reason_with_its_number_and_five_cases_of_it(checkout):
    page = card()
    assert "<strong>bad_row</strong>: 12" in page and "<strong>too_short</strong>: 7" in page
    assert "a response below min_chars of Markdown" in page
    assert page.count('<blockquote dir="auto">&lt;li&gt;cut</blockquote>') == 5  # of the row as it stood
    assert (
        len(re.findall(r'<blockquote dir="auto">wikihow physics \d\? \(title\)\n\n!</blockquote>', page)) == 5
    )  # of the candidate


def test_a_text_that_its_author_took_away_is_counted_and_not_shown(checkout):
    path = Path("data/filter/wikihow/dropped.jsonl")
    path.write_text(path.read_text().replace("too_short", "removed"))
    page = card()
    assert "<strong>removed</strong>: 7" in page
    assert "(title)\n\n!</blockquote>" not in page


def test_a_specimen_shows_no_address_and_nothing_of_a_text_with_a_key(checkout):
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow" * 8  # no key: nothing follows from it
    offered = list(jsonl.read(Path("data/scrape/wikihow/candidates.jsonl"), Candidate))
    shown = [row.model_copy(update={"response": f"Ask jo@brewers.org. {key}"}) for row in offered]
    write_scrape(shown, raw=f"<li>jo@brewers.org {key}", detail="my own, jo@brewers.org")
    page = card()
    assert "MIIEow" not in page and "brewers.org" not in page
    assert "my own, name@example.com" in page
    write_scrape([row.model_copy(update={"response": "Ask jo@brewers.org."}) for row in offered])
    assert "Ask name@example.com." in card()


def test_what_the_quality_filters_dropped_is_no_loss_of_an_arm_that_they_do_not_touch(checkout):
    page = card("unfiltered")
    assert "bad_row" in page and "too_short" not in page
    assert "sampled unfiltered" in page and "kept by the filters" not in page


def test_the_card_shows_the_funnel_the_sites_and_as_many_examples_as_asked_for(checkout):
    write_params(lambda values: values["report"]["card"].update(examples=4))
    page = card()
    steps = r"<td>99</td><td>73</td><td>33</td><td>25</td><td>6</td><td>8.2\s%</td>"  # 33 − 8 held out; 6 of 73
    assert re.search(steps, page)
    assert len(re.findall('<article class="prompt"', page)) == 4
    assert 'aria-label="Sites of wikihow. physics: ' in page


def test_a_cut_text_says_so(checkout):
    write_params(lambda values: values["report"]["card"].update(chars=5))
    assert card().count('<blockquote dir="auto">&lt;li&gt;…</blockquote>') == 5  # "<li>cut" has seven characters


def hostile(record):
    """The record with a hostile text for every text of its own but its place."""
    origin = record.provenance.model_copy(update=dict.fromkeys(("url", "author", "license"), HOSTILE))
    return record.model_copy(update={"provenance": origin})


def test_hostile_texts_become_neither_markup_nor_an_address(checkout):
    harmless = {tag for tag, _ in Page(card()).elements}
    offered = list(jsonl.read(Path("data/scrape/wikihow/candidates.jsonl"), Candidate))
    write_scrape(
        [hostile(row).model_copy(update={"title": HOSTILE, "response": HOSTILE}) for row in offered],
        raw=HOSTILE,
        detail=HOSTILE,
    )
    # much else in each, and nothing held out, or they would be near duplicates and share passages
    write_params(lambda values: values["mix"].update(held_out={}))
    said = [(f"{HOSTILE} {n}", " ".join([HOSTILE, *map(str, range(999 * n, 999 * n + 300))])) for n in range(33)]
    turns = [(Turn(role="user", content=asked), Turn(role="assistant", content=told)) for asked, told in said]
    kept = list(jsonl.read(checkout, Example))
    jsonl.write(
        checkout, [hostile(row).model_copy(update={"messages": of}) for row, of in zip(kept, turns, strict=True)]
    )
    page = card()
    asks_nothing_of_the_network(page)
    assert {tag for tag, _ in Page(page).elements} <= harmless | {"hr", "em", "strong", "ul", "li"}
    assert not CONTROLS.search(page)
    assert "‹U+202E›gnp.exe" in page


def test_a_site_with_a_hostile_name_is_drawn_as_words(checkout):
    name = '\x1b[2J\u202eexe</text><script>alert(1)</script>"&$\\frac$'
    kept = [row for row in jsonl.read(checkout, Example) if row.provenance.site == "physics"]
    elsewhere = [
        row.model_copy(update={"provenance": row.provenance.model_copy(update={"site": name})}) for row in kept[:9]
    ]
    jsonl.write(checkout, [*kept[9:], *elsewhere])
    page = card()
    asks_nothing_of_the_network(page)
    assert "script" not in {tag for tag, _ in Page(page).elements}
    assert not CONTROLS.search(page)
    assert page.count("‹U+202E›exe") >= 3  # in the picture, in what it says, and in the table


def test_a_base_model_that_is_not_there_is_named(checkout):
    shutil.rmtree("data/base")
    with pytest.raises(Exception, match=r"data/base/smollm2-135m/tokenizer\.json not found; run `dvc repro base@"):
        card()


def test_the_command_writes_the_card_of_an_arm_that_is_not_yet_trained(checkout):
    page = card()
    done = subprocess.run(
        [sys.executable, "-m", "lima.cli", "card", "lima", "--out", "card.html"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "wrote card.html\n"), done.stderr
    assert Path("card.html").read_text() == page
