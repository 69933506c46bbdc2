import json
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lima.errors import LimaError
from lima.records import Candidate, Dropped
from lima.sources import reddit
from lima.sources.reading import DumpError, Tally, digest

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


def read(dumps: Path) -> tuple[list[Candidate | Dropped], Tally]:
    tally = Tally()
    return list(reddit.read(dumps, source="reddit", licence="Reddit user content", tally=tally)), tally


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


@pytest.mark.parametrize(
    "worse",
    [
        {"score": 9},  # as a number, 9 < 10
        {"score": 99, "parent_id": "t1_c9"},
        {"score": 99, "parent_id": 12345},
        {"score": 99, "link_id": "t3_s2", "parent_id": "t3_s2"},
        {"score": 99, "body": "[removed]"},
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


def test_a_submission_that_comes_again_is_offered_once(tmp_path):
    first, second = reads(tmp_path, submission(), submission(score=41))
    assert (first.score, second.reason, second.detail) == (40, "duplicate", "s1 came before")


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
    assert tally == Tally(rows=4, questions=2, answers=2)


def test_a_byte_order_mark_crlf_and_a_missing_final_newline_are_no_errors(tmp_path):
    text = b"\xef\xbb\xbf" + lines(submission(), comment()).replace(b"\n", b"\r\n").rstrip()
    (tmp_path / "a.ndjson").write_bytes(text)
    (tmp_path / "b.zst").write_bytes(zstandard.compress(text.replace(b"s1", b"s2")))
    rows, tally = read(tmp_path)
    assert [(row.provenance.id, row.response) for row in rows] == [("s1", "Once."), ("s2", "Once.")]
    assert rows[0].provenance.digest == digest(text.split(b"\r\n")[0])
    assert rows[1].provenance.digest == digest(text.replace(b"s1", b"s2").split(b"\r\n")[0])
    assert tally == Tally(rows=4, questions=2, answers=2)


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
    assert tally == Tally(rows=3, questions=1, answers=1)


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


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.binary().map(lambda raw: raw.replace(b"\n", b""))
        | st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists).map(
            lambda v: json.dumps(v).encode()
        )
        | st.sampled_from([submission(), comment()]).flatmap(
            lambda row: st.sampled_from(sorted(row)).flatmap(
                lambda key: st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.booleans()).map(
                    lambda value: json.dumps(row | {key: value}).encode()
                )
            )
        ),
        min_size=1,
    )
)
def test_every_line_is_a_comment_a_candidate_or_dropped_with_a_reason(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "any.ndjson"
    path.write_bytes(b"\n".join(rows) + b"\n")
    found, tally = read(path)
    assert len(found) + tally.answers == tally.rows == len(rows)


@settings(max_examples=100, deadline=None)
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
