import json
from pathlib import Path

import pytest

from lima import config, inspection
from lima.inspection import inspect, render, with_min_response_score
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
    assert bad == {"place": f"{dump}:8", "reason": "Score 'many' is not a number"}


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
    assert f"{dump}: format stack_exchange" in text
    assert "  rows                7\n" in text
    assert "Would be kept\n  as examples          1\n" in text
    assert f"Bad rows: 1\n  {dump}:8: Score 'many' is not a number" in text


def test_a_long_list_of_bad_rows_is_cut_and_says_so(dump):
    dump.write_text("\n".join(["<posts>", *["no row"] * 25, "</posts>"]))
    text = render(inspect(dump, P))
    assert text.count(": invalid XML") == inspection.SHOWN
    assert text.endswith("  … and 5 more; --json lists all")


def answer(number: int) -> str:
    return " ".join(f"Rinse glass {number}.{step} before you pour." for step in range(50))


@pytest.fixture
def voted(tmp_path):
    """Ten questions whose answers have 2 to 40 votes; 4 and 12, and 5 and 9 votes for the same answer; a short one."""
    title = "How do I pour a wheat beer without too much foam at home"
    bodies = {2: 2, 3: 3, 4: 12, 5: 5, 8: 8, 9: 5, 10: 10, 12: 12, 20: 20, 40: 40}
    rows = [row(1, 1, Title=f"{title}?"), row(2, 2, ParentId=1, Score=6, Body="Slowly.")]
    for score, number in bodies.items():
        question = 100 * score
        rows.append(row(question, 1, Title=f"{title} in step {number}?"))
        rows.append(row(question + 1, 2, ParentId=question, Score=score, Body=answer(number)))
    path = tmp_path / "beer" / "Posts.xml"
    path.parent.mkdir()
    path.write_text("\n".join(["<posts>", *rows, "</posts>"]))
    return path


STACK_EXCHANGE = "filter.stack_exchange.prefilter.min_response_score"


def test_it_shows_how_many_examples_other_bounds_on_votes_would_keep(voted):
    found = inspect(voted, P)
    # 3, 8, 9, 10, 12, 20 and 40 votes: 4 is a near duplicate of 12, and 5 of 9
    assert found.kept_at == {STACK_EXCHANGE: {3: 7, 5: 6, 10: 4, 20: 2}}
    assert (found.candidates, found.kept) == (11, 4)
    assert found.dropped == {"low_response_score": 7}  # unchanged: those below 10
    text = render(found)
    assert f"Would be kept as examples at other values of {STACK_EXCHANGE}\n" in text
    assert "\n  min_response_score 3           7\n  min_response_score 5           6\n" in text
    assert json.loads(found.model_dump_json())["kept_at"] == {STACK_EXCHANGE: {"3": 7, "5": 6, "10": 4, "20": 2}}


@pytest.mark.parametrize("bound", [1, 3, 5, 7, 10, 20, 30])
def test_a_bound_that_is_tried_gives_what_params_yaml_with_this_bound_gives(voted, bound):
    there = inspect(voted, P.model_copy(update={"filter": with_min_response_score("stack_exchange", P.filter, bound)}))
    assert there.kept_at[STACK_EXCHANGE][bound] == there.kept
    here = inspect(voted, P).kept_at[STACK_EXCHANGE]
    assert here.get(bound, there.kept) == there.kept
    assert there.candidates == there.kept + sum(there.dropped.values())


def test_stories_of_reddit_are_counted_at_other_bounds_too(tmp_path):
    posts = [
        {"id": f"p{score}", "subreddit": "WritingPrompts", "title": f"[WP] A glass talks at {score}", "score": 99}
        | {"selftext": ""}
        for score in (2, 4, 12, 30)
    ]
    replies = [
        {"id": f"c{score}", "link_id": f"t3_p{score}", "parent_id": f"t3_p{score}", "subreddit": "WritingPrompts"}
        | {"score": score, "body": answer(score)}
        for score in (2, 4, 12, 30)
    ]
    ask = {"id": "a", "subreddit": "AskReddit", "title": "What do cooks never eat?", "selftext": "", "score": 99}
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(post) for post in [*posts, *replies, ask]) + "\n")
    found = inspect(tmp_path, P)
    assert found.kept_at == {"filter.reddit.min_response_score": {3: 3, 5: 2, 10: 2, 20: 1}}
    assert (found.kept, found.prompts, found.dropped) == (2, 1, {"low_response_score": 2})


def test_a_source_without_votes_has_no_bounds_to_try(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([{"instruction": "Why?", "input": "", "output": "So."}]))
    found = inspect(tmp_path, P)
    assert (found.kept, found.kept_at) == (1, {})
    assert "other values" not in render(found)


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
    with pytest.raises(DumpError, match=r"is in no known format: 1 × \.txt"):
        inspect(tmp_path, P)


@pytest.mark.skipif(not REALDATA.exists(), reason="the real dumps are not on this machine")
def test_a_real_archive_is_inspected():
    found = inspect(REALDATA / "beer.stackexchange.com.7z", P)
    assert (found.rows, found.questions, found.answers, found.bad_rows) == (3471, 1029, 2277, ())
    assert found.kept >= 7  # three of ten good answers point at a link that was cut
    kept = found.kept_at[STACK_EXCHANGE]
    assert kept[3] > kept[5] > kept[10] == found.kept > kept[20] > 0


def test_limit_and_skip_select_a_range_of_candidates(dump):
    """The three candidates are questions 1, 3 and 5: kept, too short, no answer."""
    whole = inspect(dump, P)
    assert (whole.skipped, whole.limited) == (0, False)
    first = inspect(dump, P, limit=1)
    assert (first.candidates, first.kept, first.limited) == (1, 1, True)
    second = inspect(dump, P, skip=1, limit=1)
    assert (second.skipped, second.candidates, second.kept) == (1, 1, 0)
    assert second.dropped["too_short"] == 1
    assert "Candidates: 1 counted, 1 skipped before them; the rest of the dump is not counted" in render(second)
    beyond = inspect(dump, P, skip=9)
    assert (beyond.skipped, beyond.candidates, beyond.limited) == (3, 0, False)
