from pathlib import Path

import pytest

from lima import jsonl
from lima.curation import origins
from lima.records import Candidate, Example, Provenance

PLACE = Provenance(source="forum", site="beer", id="1", url="", author="", license="", digest="")


def candidate(number: int, markup: str) -> Candidate:
    return Candidate(
        id=f"forum/beer/{number}",
        title=f"Question {number}",
        description="",
        response="<p>So</p>",
        later_turns=(),
        markup=markup,
        score=None,
        response_score=None,
        tags=(),
        provenance=PLACE,
    )


@pytest.fixture(autouse=True)
def scraped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [candidate(1, "html"), candidate(2, "markdown"), candidate(3, "html")]
    jsonl.write(Path("data/scrape/forum/candidates.jsonl"), rows)


def example(number: int) -> Example:
    return Example(id=f"forum/beer/{number}", messages=(), tags=(), provenance=PLACE)


def test_title_comes_from_the_candidate():
    assert origins.titles([example(3), example(1)]) == {"forum/beer/1": "Question 1", "forum/beer/3": "Question 3"}


def test_unknown_example_is_an_error_with_its_id():
    with pytest.raises(Exception, match=r"not found in scrape: forum/beer/9; run scrape@forum again"):
        origins.titles([example(1), example(9)])


def test_only_html_is_converted():
    texts = origins.texts("forum", ["forum/beer/1", "forum/beer/2"], to_markdown=lambda html: html.upper())
    assert texts == {"forum/beer/1": "Question 1\n\n<P>SO</P>", "forum/beer/2": "Question 2\n\n<p>So</p>"}
