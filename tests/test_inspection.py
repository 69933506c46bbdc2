import json
from pathlib import Path

import pytest

from lima import config, inspection
from lima.inspection import inspect, render
from lima.sources.base import DumpError

REALDATA = Path(__file__).parents[2] / "shared/realdata/stack_exchange"
P = config.load()
STEPS = "Rinse the glass with cold water before you pour, and hold it at a slant. " * 20


def row(number: int, kind: int, **fields: object) -> str:
    known = {"Id": number, "PostTypeId": kind, "CreationDate": "2020-01-01", "Score": 5, "Body": "b", "OwnerUserId": 7}
    return f"<row {' '.join(f'{name}={json.dumps(str(value))}' for name, value in (known | fields).items())} />"


@pytest.fixture
def dump(tmp_path):
    """Four questions: one to keep, one with a short answer, one with no answer, one closed; and a row that is none."""
    title = "How do I pour a wheat beer without too much foam?"
    rows = [
        row(1, 1, Title=title),
        row(2, 2, ParentId=1, Score=12, Body=STEPS),
        row(3, 1, Title="How?"),
        row(4, 2, ParentId=3, Score=40),
        row(5, 1, Title=title),
        row(6, 1, Title=title, ClosedDate="2020-01-02"),
        row(7, 1, Title=title, Score="many"),
    ]
    path = tmp_path / "beer" / "Posts.xml"
    path.parent.mkdir()
    path.write_text("\n".join(["<posts>", *rows, "</posts>"]))
    return path


def test_it_tells_what_would_be_kept_and_what_dropped_and_why(dump):
    found = inspect(dump, P)
    assert (found.format, found.rows, found.questions, found.answers) == ("stack_exchange", 7, 4, 2)
    assert (found.candidates, found.kept, found.prompts) == (3, 1, 0)
    assert found.dropped == {"closed": 1, "too_short": 1, "no_answer": 1}
    assert found.response_scores == {"8 to 15": 1, "32 to 63": 1}
    [bad] = json.loads(found.model_dump_json())["bad_rows"]
    assert bad == {"place": f"{dump}:8", "reason": "Score 'many' is no number"}


def test_an_answer_that_is_given_twice_would_be_kept_once(dump):
    steps = " ".join(f"Rinse glass {n} before you pour." for n in range(50))
    asked = ((8, "How is wheat beer poured slowly?"), (10, "How do I pour a wheat beer slowly?"))
    twice = [
        text for n, title in asked for text in (row(n, 1, Title=title), row(n + 1, 2, ParentId=n, Score=11, Body=steps))
    ]
    dump.write_text(dump.read_text().replace("</posts>", "\n".join([*twice, "</posts>"])))
    found = inspect(dump, P)
    assert (found.candidates, found.kept) == (5, 2)
    assert found.dropped["near_duplicate"] == 1


def test_every_row_and_candidate_is_accounted_for(dump):
    found = inspect(dump, P)
    closed = found.dropped["closed"]
    assert found.candidates == found.questions - closed
    assert found.candidates == found.kept + found.prompts + sum(found.dropped.values()) - closed


def test_a_person_reads_the_same(dump):
    text = render(inspect(dump, P))
    assert f"{dump} is read as stack_exchange" in text
    assert "  rows                7\n" in text
    assert "Would be kept\n  as examples          1\n" in text
    assert f"Bad rows: 1\n  {dump}:8: Score 'many' is no number" in text


def test_a_long_list_of_bad_rows_is_cut_and_says_so(dump):
    dump.write_text("\n".join(["<posts>", *["no row"] * 25, "</posts>"]))
    text = render(inspect(dump, P))
    assert text.count(": no XML") == inspection.SHOWN
    assert text.endswith("  … and 5 more; --json lists all")


@pytest.mark.parametrize(
    ("score", "band"), [(-3, "0 or less"), (0, "0 or less"), (1, "1"), (2, "2 to 3"), (4, "4 to 7")]
)
def test_votes_are_counted_in_doubling_ranges(score, band):
    assert inspection._range(inspection._band(score)) == band


def test_a_subreddit_of_params_yaml_of_which_no_row_is_there_is_named(tmp_path):
    """params.yaml names WritingPrompts and AskReddit; names match in any case."""
    post = {"id": "a", "subreddit": "askreddit", "title": "What do cooks never eat?", "selftext": "", "score": 99}
    (tmp_path / "x.jsonl").write_text(json.dumps(post) + "\n")
    found = inspect(tmp_path, P)
    assert (found.absent_subreddits, found.prompts) == (("WritingPrompts",), 1)
    warning = (
        "Warning: no row of the subreddits WritingPrompts; correct filter.reddit in params.yaml, or put their dumps"
    )
    assert warning in render(found)
    (tmp_path / "y.jsonl").write_text(json.dumps(post | {"id": "b", "subreddit": "writingPrompts"}) + "\n")
    assert inspect(tmp_path, P).absent_subreddits == ()


def test_a_dump_of_no_known_kind_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(DumpError, match="holds nothing that can be read"):
        inspect(tmp_path, P)


@pytest.mark.skipif(not REALDATA.exists(), reason="the real dumps are not on this machine")
def test_a_real_archive_is_inspected():
    found = inspect(REALDATA / "beer.stackexchange.com.7z", P)
    assert (found.rows, found.questions, found.answers, found.bad_rows) == (3471, 1029, 2277, ())
    assert found.kept >= 7  # three of ten good answers point at a link that was cut
