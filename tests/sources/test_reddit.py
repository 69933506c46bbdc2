import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lima.errors import LimaError
from lima.records import Candidate, Dropped
from lima.sources.base import DumpError, Prefilter, ReadStats, Subreddits, digest
from lima.sources.reddit import reader

REALDATA = Path(__file__).parents[2] / "../shared/realdata/reddit"


def submission(**fields: object) -> dict[str, object]:
    return {
        "id": "s1",
        "title": "A dragon &amp; a teapot",
        "selftext": "Go &lt;on&gt;.\n\n&amp;#x200B;",
        "author": "asker",
        "subreddit": "WritingPrompts",
        "score": 40,
        "permalink": "/r/WritingPrompts/comments/s1/a_dragon/",
        "link_flair_text": "Writing Prompt",
        "over_18": False,
        "distinguished": None,
        "stickied": False,
    } | fields


def comment(**fields: object) -> dict[str, object]:
    top = {"link_id": "t3_s1", "parent_id": "t3_s1", "distinguished": None, "stickied": False}
    return {"id": "c1", "body": "Once.", "author": "writer", "subreddit": "WritingPrompts", "score": 5} | top | fields


def lines(*rows: dict[str, object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(dumps: Path) -> tuple[list[Candidate | Dropped], ReadStats]:
    tally = ReadStats()
    return list(reader.read(dumps, source="reddit", license="Reddit user content", tally=tally)), tally


def reads(folder: Path, *rows: dict[str, object]) -> list[Candidate | Dropped]:
    (folder / "any.ndjson").write_bytes(lines(*rows))
    return read(folder)[0]


def test_a_submission_and_its_best_reply_become_a_candidate_with_where_it_comes_from(tmp_path):
    (row,) = reads(tmp_path, comment(), submission(), comment(id="c2", body="Twice &gt; once.\r\nEnd", score=7))
    assert isinstance(row, Candidate)
    assert (row.id, row.title) == ("reddit/WritingPrompts/s1", "A dragon & a teapot")
    assert (row.description, row.response, row.markup) == ("Go <on>.", "Twice > once.\nEnd", "markdown")
    assert (row.score, row.response_score, row.tags) == (40, 7, ("Writing Prompt",))
    assert row.provenance.url == "https://www.reddit.com/r/WritingPrompts/comments/s1/a_dragon/"
    assert (row.provenance.site, row.provenance.author) == ("WritingPrompts", "asker; writer")
    assert row.provenance.digest == digest(json.dumps(submission()).encode())


def test_an_author_of_both_submission_and_reply_is_named_once(tmp_path):
    (row,) = reads(tmp_path, submission(), comment(author="asker"))
    assert row.provenance.author == "asker"


@pytest.mark.parametrize(
    "worse",
    [
        {"score": 9},  # as a number, 9 < 10
        {"score": 99, "parent_id": "t1_c9"},
        {"score": 99, "parent_id": 12345},
        {"score": 99, "link_id": "t3_s2", "parent_id": "t3_s2"},
        {"score": 99, "body": "[removed]"},
        {"score": 99, "body": "[unavailable]"},
        {"score": 99, "body": " [deleted] "},
        {"score": 99, "author": "AutoModerator"},
        {"score": 99, "author": "WritingPrompts-ModTeam"},
        {"score": 99, "stickied": True},
        {"score": 99, "distinguished": "moderator"},
        {"score": None},
    ],
    ids=str,
)
def test_a_reply_that_is_lower_deeper_elsewhere_removed_or_a_moderators_is_not_the_response(tmp_path, worse):
    good = comment(id="c0", score=10, body="good")
    for rows in ([good, comment(**worse)], [comment(**worse), good]):
        (row,) = reads(tmp_path, *rows, submission())
        assert row.response == "good"


def test_a_comment_whose_parent_is_null_answers_the_submission(tmp_path):
    nested = comment(id="c2", score=99, parent_id=41785179015)
    unknown = comment(id="c3", score=99)
    del unknown["parent_id"]
    (row,) = reads(tmp_path, submission(), comment(parent_id=None), nested, unknown)
    assert (row.response, row.response_score) == ("Once.", 5)


def test_of_two_replies_with_the_same_score_the_first_is_the_response(tmp_path):
    (row,) = reads(tmp_path, comment(id="c0", body="first"), comment(body="second"), submission())
    assert row.response == "first"


def test_of_a_comment_that_comes_again_the_last_version_counts(tmp_path):
    (row,) = reads(tmp_path, submission(), comment(body="draft", score=9), comment(body="edited", score=8))
    assert (row.response, row.response_score) == ("edited", 8)
    (row,) = reads(tmp_path, submission(), comment(body="draft", score=9), comment(body="[removed]", score=9))
    assert row.response == ""


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"selftext": "[removed]"}, "removed", "the text is [removed]"),
        ({"selftext": "[deleted]", "author": "[deleted]"}, "removed", "the text is [deleted]"),
        ({"selftext": "", "title": "[deleted by user]"}, "removed", "the text is [deleted by user]"),
        ({"removed_by_category": "moderator"}, "removed", "removed_by_category is moderator"),
        ({"over_18": True}, "nsfw", "over_18 is true"),
        ({"crosspost_parent": "t3_s0"}, "crosspost", "of t3_s0"),
        ({"distinguished": "moderator"}, "moderator", "distinguished is moderator"),
        ({"stickied": True}, "moderator", "stickied is true"),
    ],
)
def test_a_submission_that_cannot_be_used_is_dropped_with_the_reason(tmp_path, fields, reason, detail):
    (row,) = reads(tmp_path, submission(**fields))
    assert row == Dropped(reason=reason, detail=detail, place=f"{tmp_path}/any.ndjson:1", raw="")


def test_a_link_without_text_has_no_description_and_a_deleted_account_keeps_its_words(tmp_path):
    (row,) = reads(tmp_path, submission(selftext="", author="[deleted]", permalink=None))
    assert (row.description, row.provenance.author) == ("", "[deleted]")
    assert row.provenance.url == "https://www.reddit.com/r/WritingPrompts/comments/s1/"


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({}, {}, 2),  # equally late, or untold: the one that is read last
        ({"retrieved_on": 1500000000}, {"retrieved_on": 1400000000}, 1),
        ({"retrieved_on": "1500000000"}, {"retrieved_utc": 1500000001.0}, 2),  # as a number: "15…0" < 15…1
        ({"retrieved_on": 1400000000, "_meta": {"retrieved_2nd_on": 1500000000}}, {"retrieved_on": 1450000000}, 1),
        ({"edited": 1500000000.0}, {"edited": False}, 1),
        ({"edited": True}, {"edited": 1300000000}, 2),  # old dumps tell that, but not when
    ],
)
def test_of_a_submission_that_comes_again_the_later_version_is_offered(tmp_path, first, second, kept):
    duplicate, row = reads(tmp_path, submission(score=1) | first, submission(score=2) | second)
    assert row.score == kept
    older = {1: 2, 2: 1}[kept]
    assert duplicate == Dropped(
        reason="duplicate", detail="s1 has a later version", place=f"{tmp_path}/any.ndjson:{older}", raw=""
    )


def test_a_text_that_its_author_took_away_later_stays_away(tmp_path):
    kept, gone = submission(retrieved_on=1), submission(retrieved_on=2, selftext="[removed]")
    for rows in ([kept, gone], [gone, kept]):
        assert [row.reason for row in reads(tmp_path, *rows)] == ["duplicate", "removed"]


def test_of_a_reply_that_comes_again_the_version_retrieved_last_counts_in_whatever_order(tmp_path):
    draft, edited = (
        comment(body="draft", retrieved_on=1),
        comment(body="edited", score=3, _meta={"retrieved_2nd_on": 2}),
    )
    for rows in ([draft, edited], [edited, draft]):
        (row,) = reads(tmp_path, submission(), *rows)
        assert (row.response, row.response_score) == ("edited", 3)


def test_a_score_that_is_hidden_is_not_told(tmp_path):
    (row,) = reads(tmp_path, submission(hide_score=True, score=1), comment(score=1, score_hidden=True))
    assert (row.score, row.response) == (None, "")


def test_the_fields_of_the_dumps_since_2024_are_no_obstacle(tmp_path):
    newer = {"created_utc": "1706745600", "created": 1706745600.0, "_meta": "odd", "retrieved_on": None, "edited": "no"}
    (row,) = reads(tmp_path, submission(**newer), comment(**newer))
    assert (row.id, row.response) == ("reddit/WritingPrompts/s1", "Once.")


def only(*, answered: set[str], asked: set[str]) -> Prefilter:
    wanted = Subreddits(frozenset(answered), frozenset(asked))
    return Prefilter(
        min_response_score=0, reservoir=1, shares=lambda _, numbers: np.zeros(len(numbers)), subreddits=wanted
    )


WANTED = only(answered={"WritingPrompts"}, asked={"AskReddit"})


def test_lines_of_other_subreddits_are_passed_over_and_told_together(tmp_path):
    elsewhere = submission(id="s3", subreddit="pics", selftext='{"subreddit":"AskReddit"}', author="AskReddit")
    (tmp_path / "a.ndjson").write_bytes(lines(submission(), elsewhere, comment(subreddit="pics"), comment(id="c2")))
    spaced = json.dumps(submission(id="s2", subreddit="AskReddit"), separators=(" ,  ", " :  ")).encode()
    (tmp_path / "b.ndjson").write_bytes(
        spaced + b"\n" + lines(comment(id="c3", subreddit="AskReddit", link_id="t3_s2"))
    )
    tally = ReadStats()
    others, answered, asked = reader.read(tmp_path, source="r", license="", tally=tally, early=WANTED)
    assert (others.reason, others.rows, others.place) == ("other_subreddit", 2, f"{tmp_path}/a.ndjson")
    assert others.detail == "lines that are of none of AskReddit, WritingPrompts"
    assert (answered.id, answered.response) == ("r/WritingPrompts/s1", "Once.")
    assert (asked.id, asked.response) == ("r/AskReddit/s2", "")  # only asked: replies are counted and not kept
    assert tally == ReadStats(rows=6, questions=2, answers=2)  # 2 + 2 + 2 of others = 6


@pytest.mark.parametrize("spelled", ["writingprompts", "WRITINGPROMPTS", "wRITINGpROMPTS"])
@pytest.mark.parametrize("wanted", ["WritingPrompts", "writingprompts"])
def test_a_subreddits_name_matches_in_any_case_and_is_given_as_it_is_wanted(tmp_path, spelled, wanted, caplog):
    (tmp_path / "a.ndjson").write_bytes(lines(submission(subreddit=spelled), comment(subreddit=spelled)))
    early = only(answered={wanted}, asked=set())
    (row,) = reader.read(tmp_path, source="r", license="", tally=ReadStats(), early=early)
    assert (row.id, row.provenance.site, row.response) == (f"r/{wanted}/s1", wanted, "Once.")
    assert caplog.messages == []


def test_a_wanted_subreddit_of_which_no_row_is_there_is_named_in_a_warning(tmp_path, caplog):
    (tmp_path / "a.ndjson").write_bytes(lines(comment(), submission(subreddit="pics")))
    list(reader.read(tmp_path, source="r", license="", tally=ReadStats(), early=WANTED))
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path}: no row of the subreddits AskReddit; correct filter.reddit in params.yaml")


@pytest.mark.parametrize("torn", [b'{"subreddit":"pics","title":"cut in ha', b'title":"x"}', b"", b"\0\0"])
def test_a_line_torn_at_either_end_is_bad_whatever_its_subreddit(tmp_path, torn):
    path = tmp_path / "any.ndjson"
    path.write_bytes(lines(submission(subreddit="pics")) + torn + b"\n" + lines(submission(subreddit="pics")))
    tally = ReadStats()
    bad, others = reader.read(path, source="r", license="", tally=tally, early=WANTED)
    assert (bad.reason, bad.place, others.rows, tally.rows) == ("bad_row", f"{path}:2", 2, 3)


def test_a_line_of_many_megabytes_is_a_bad_row_with_its_length_and_the_rest_is_read(tmp_path):
    # 16 MiB is the limit, and the line 2^24 + 12 + 2 bytes and its end
    text = lines(submission()) + b'{"selftext":"' + b"x" * 2**24 + b'"}\n' + lines(comment())
    (tmp_path / "any.zst").write_bytes(zstandard.compress(text))
    (bad, good), tally = read(tmp_path)
    assert bad.place == f"{tmp_path}/any.zst:2"
    assert bad.detail == "a line of 16,777,232 bytes, at most 16,777,216; its head is shown"
    assert bad.raw == '{"selftext":"' + "x" * (1000 - 13)
    assert (good.response, tally) == ("Once.", ReadStats(rows=3, questions=1, answers=1))


def test_the_apis_own_form_reads_as_the_dumps_do(tmp_path):
    plain = reads(tmp_path, submission(), comment())
    wrapped = reads(tmp_path, {"kind": "t3", "data": submission()}, {"kind": "t1", "data": comment()})
    assert [row.model_copy(update={"provenance": None}) for row in wrapped] == [
        row.model_copy(update={"provenance": None}) for row in plain
    ]


def test_submissions_and_comments_may_be_in_any_file_compressed_or_not(tmp_path):
    both = zstandard.compress(lines(comment())) + zstandard.compress(lines(submission(id="s2"), submission()))
    (tmp_path / "RC.zst").write_bytes(both)  # two frames, as some tools write
    (tmp_path / "RS.jsonl").write_bytes(lines(comment(id="c2", body="More.", score=6)))
    rows, tally = read(tmp_path)
    assert [(row.id, row.response) for row in rows] == [
        ("reddit/WritingPrompts/s2", ""),
        ("reddit/WritingPrompts/s1", "More."),
    ]
    assert tally == ReadStats(rows=4, questions=2, answers=2)


def test_a_byte_order_mark_crlf_and_a_missing_final_newline_are_no_errors(tmp_path):
    text = b"\xef\xbb\xbf" + lines(submission(), comment()).replace(b"\n", b"\r\n").rstrip()
    (tmp_path / "a.ndjson").write_bytes(text)
    (tmp_path / "b.zst").write_bytes(zstandard.compress(text.replace(b"s1", b"s2").replace(b"c1", b"c2")))
    rows, tally = read(tmp_path)
    assert [(row.provenance.id, row.response) for row in rows] == [("s1", "Once."), ("s2", "Once.")]
    assert rows[0].provenance.digest == digest(text.split(b"\r\n")[0])
    assert rows[1].provenance.digest == digest(text.replace(b"s1", b"s2").split(b"\r\n")[0])
    assert tally == ReadStats(rows=4, questions=2, answers=2)


def test_a_window_larger_than_zstandards_own_limit_is_read(tmp_path):
    # the monthly dumps are packed with 2 GiB windows; zstandard refuses more than 128 MiB (2^27) unless told
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "RS.zst").write_bytes(packer.compress(lines(submission())) + packer.flush())
    assert read(tmp_path)[1].questions == 1


BAD = [
    (b'{"title": "cut in ha', "no JSON: "),
    (b"", "no JSON: "),
    (b'"\xff"', "no JSON: "),
    (b"[" * 5000, "no JSON: "),
    (b"[1]", "no object, but list"),
    (b'{"kind": "t5", "data": {"id": "x"}}', "neither a submission (no title) nor a comment (no body)"),
    (json.dumps(submission(score="many")).encode(), "score: Input should be a valid integer"),
    (json.dumps(comment(score="many")).encode(), "score: Input should be a valid integer"),
    (json.dumps(submission(id=None)).encode(), "id: Input should be a valid string, not None"),
    (json.dumps({k: v for k, v in comment().items() if k != "id"}).encode(), "id: Field required"),
]


@pytest.mark.parametrize(("line", "detail"), BAD)
def test_a_line_that_cannot_be_read_is_kept_with_its_place_and_the_rest_goes_on(tmp_path, line, detail):
    path = tmp_path / "any.ndjson"
    path.write_bytes(lines(submission()) + line + b"\n" + lines(comment()))
    (bad, good), tally = read(path)
    assert (bad.reason, bad.place) == ("bad_row", f"{path}:2")
    assert bad.detail.startswith(detail)
    assert bad.raw == line.decode(errors="backslashreplace")
    assert good.response == "Once."
    assert tally == ReadStats(rows=3, questions=1, answers=1)


def test_a_compressed_file_cut_short_is_an_error_that_names_it_and_how_far_it_went(tmp_path):
    path = tmp_path / "RS.zst"
    packed = zstandard.compress(lines(submission()) * 3)
    path.write_bytes(packed + zstandard.compress(lines(submission(id="s2")))[:-5])
    with pytest.raises(DumpError, match=r"RS\.zst is cut short or damaged after line 3 .*fetch it again"):
        read(path)


def test_a_file_that_is_not_compressed_as_its_name_says_is_an_error(tmp_path):
    path = tmp_path / "RS.zst"
    path.write_bytes(lines(submission()))
    with pytest.raises(DumpError, match=r"RS\.zst is cut short or damaged at its start"):
        read(path)


@pytest.mark.parametrize(("name", "content"), [("a.zst", b""), ("a.zst", zstandard.compress(b"")), ("a.ndjson", b"")])
def test_an_empty_file_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DumpError, match=rf"{name} is empty; fetch it again, or take it away"):
        read(tmp_path)


POSTS = st.sampled_from([submission(), comment(), submission(subreddit="pics")])
VALUES = st.none() | st.integers() | st.floats() | st.text() | st.booleans() | st.dictionaries(st.text(), st.integers())
LINES = st.lists(
    st.binary().map(lambda raw: raw.replace(b"\n", b""))
    | st.recursive(VALUES, st.lists).map(lambda v: json.dumps(v).encode())
    | POSTS.flatmap(
        lambda row: st.sampled_from([*row, "_meta", "edited", "retrieved_on", "score_hidden"]).flatmap(
            lambda key: VALUES.map(lambda value: json.dumps(row | {key: value}).encode())
        )
    ),
    min_size=1,
)


@given(LINES, st.sampled_from([None, WANTED]))
def test_every_line_is_a_comment_a_candidate_or_dropped_with_a_reason(tmp_path_factory, rows, early):
    path = tmp_path_factory.mktemp("any") / "any.ndjson"
    path.write_bytes(b"\n".join(rows) + b"\n")
    tally = ReadStats()
    found = list(reader.read(path, source="reddit", license="", tally=tally, early=early))
    of = {"bad_row": 0, "other_subreddit": 0} | {row.reason: row.rows for row in found if isinstance(row, Dropped)}
    bad = sum(isinstance(row, Dropped) and row.reason == "bad_row" for row in found)
    assert tally.questions + tally.answers + bad + of["other_subreddit"] == tally.rows == len(rows)
    assert len(found) - bad - bool(of["other_subreddit"]) == tally.questions


@given(st.binary(), st.binary(), st.integers(min_value=0, max_value=60))
def test_whatever_a_compressed_file_holds_only_a_lima_error_comes_of_it(tmp_path_factory, text, junk, end):
    path = tmp_path_factory.mktemp("any") / "any.zst"
    path.write_bytes(zstandard.compress(text)[:end] + junk)
    try:
        found, tally = read(path)
    except LimaError as error:
        assert str(path) in str(error)
    else:
        assert len(found) + tally.answers == tally.rows


@pytest.mark.skipif(not REALDATA.exists(), reason="real dumps are not here")
@pytest.mark.parametrize("name", ["RC_2005-12", "AskMen_submissions", "devmathur_submissions"])
def test_every_line_of_a_real_dump_is_counted(name):
    path = REALDATA / f"{name}.zst"
    text = subprocess.run(["zstd", "-dc", "--long=31", path], capture_output=True, check=True).stdout
    rows, tally = read(path)
    assert tally.rows == text.count(b"\n") == tally.questions + tally.answers
    assert len(rows) == tally.questions
    assert not [row for row in rows if isinstance(row, Dropped) and row.reason == "bad_row"]


@pytest.mark.skipif(not REALDATA.exists(), reason="real dumps are not here")
@pytest.mark.parametrize(("name", "subreddit"), [("RC_2005-12", "reddit.com"), ("AskMen_submissions", "AskMen")])
def test_the_lines_of_one_subreddit_of_a_real_dump_are_those_that_json_finds(name, subreddit):
    path = REALDATA / f"{name}.zst"
    text = subprocess.run(["zstd", "-dc", "--long=31", path], capture_output=True, check=True).stdout
    of_it = sum(json.loads(line)["subreddit"] == subreddit for line in text.splitlines())
    tally, wanted = ReadStats(), only(answered={subreddit}, asked=set())
    rows = list(reader.read(path, source="r", license="", tally=tally, early=wanted))
    others = sum(row.rows for row in rows if isinstance(row, Dropped) and row.reason == "other_subreddit")
    assert tally.questions + tally.answers == of_it == tally.rows - others
