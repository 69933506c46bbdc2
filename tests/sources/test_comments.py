from pathlib import Path

import py7zr
import pytest

from lima.records import Dropped, Thread
from lima.sources.base import DumpError, ReadStats
from lima.sources.stack_exchange import comments
from lima.sources.stack_exchange.reader.rows import MAX_ROW

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared/realdata/stack_exchange"
ANSWER = '<row Id="{}" PostTypeId="2" ParentId="1" Score="4" OwnerUserId="{}" CommentCount="{}" Body="{}" />'
POSTS = "\n".join(
    [
        "<posts>",
        ANSWER.format(2, 8, 3, "Two."),  # before its question
        '<row Id="1" PostTypeId="1" Score="9" OwnerUserId="7" Title="How long?" Body="It is bitter." Tags="|tea|" />',
        ANSWER.format(3, 7, 2, "Own."),
        ANSWER.format(4, 9, 1, "No."),
        "</posts>",
    ]
).replace(" Body=", ' CreationDate="2013-01-02" Body=')
USERS = '<users>\n<row Id="7" DisplayName="Ada" />\n<row Id="8" DisplayName="Bo" />\n</users>'


def comment(number: int, post: int, user: object, text: str = "So?", when: str = "", **more: str) -> str:
    fields = {"Id": number, "PostId": post, "Score": 1, "Text": text, "CreationDate": when or f"2013-02-{number:02}"}
    fields |= {"UserId": user} if isinstance(user, int) else {"UserDisplayName": user}
    return "<row {} />".format(" ".join(f'{name}="{value}"' for name, value in (fields | more).items()))


TALK = [comment(1, 2, 7, "And white?"), comment(2, 2, 8, "Four.")]


def site(folder: Path, *comments: str, posts: str = POSTS, head: str = "\ufeff<comments>") -> Path:
    (folder / "Posts.xml").write_text(posts)
    (folder / "Users.xml").write_text(USERS)
    (folder / "Comments.xml").write_text("\r\n".join([head, *comments, "</comments>"]))
    return folder


def read(dump: Path) -> list[Thread | Dropped]:
    return list(comments.read(dump, source="se", license="CC BY-SA", tally=ReadStats()))


def test_a_thread_has_question_answer_and_comments_in_order_of_time_with_speakers(tmp_path):
    late, early = comment(1, 2, 8, "Four.", when="2013-02-09"), comment(2, 2, 7, "And white?", when="2013-02-08")
    (thread,) = read(site(tmp_path, late, early, comment(3, 2, "Cleo", "Hm."), comment(4, 2, 12, "Hm."), TALK[0]))
    assert (thread.title, thread.question, thread.answer, thread.score) == ("How long?", "It is bitter.", "Two.", 4)
    assert [(remark.speaker, remark.name) for remark in thread.remarks] == [
        ("asker", "Ada"),  # 2013-02-01
        ("other", "Cleo"),
        ("other", "user 12"),
        ("asker", "Ada"),
        ("answerer", "Bo"),
    ]


def test_an_overlong_row_is_a_bad_row(tmp_path):
    long = comment(3, 2, 7, "x" * (3 * MAX_ROW))
    first, second, thread = read(site(tmp_path, long, *TALK, "<row " + "y" * (2 * MAX_ROW)))
    assert isinstance(first, Dropped) and isinstance(second, Dropped) and isinstance(thread, Thread)
    assert (first.place, second.place) == (f"{tmp_path}/Comments.xml:2", f"{tmp_path}/Comments.xml:5")
    assert "at most 1048576" in first.detail and len(first.raw) == len(second.raw) == 1000
    assert [remark.text for remark in thread.remarks] == ["And white?", "Four."]


def test_a_thread_names_both_authors_and_all_licenses_of_their_texts(tmp_path):
    talk = [TALK[0], comment(2, 2, 8, "Four.", ContentLicense="CC BY-SA 4.0"), comment(3, 2, 9, ContentLicense="GPL")]
    (thread,) = read(site(tmp_path, *talk))
    origin = thread.provenance
    assert origin.author == "Ada (question, comments), Bo (answer, comments)"
    assert origin.license == "CC BY-SA 3.0, CC BY-SA 4.0"  # by the date 2013, and as declared; not the third user's
    assert (origin.url, origin.id) == (f"https://{tmp_path.name}.stackexchange.com/a/2", "2")


def test_the_url_of_a_thread_has_the_sites_host(tmp_path):
    (tmp_path / "mathoverflow").mkdir()
    [thread] = read(site(tmp_path / "mathoverflow", *TALK))
    assert thread.provenance.url == "https://mathoverflow.net/a/2"


def test_the_digest_covers_the_texts_of_both_authors_only(tmp_path):
    digests = []
    for number, third in enumerate(([], [comment(3, 2, 9)], [comment(3, 2, 7)])):
        (folder := tmp_path / str(number)).mkdir()
        digests.append(read(site(folder, *TALK, *third))[0].provenance.digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "comments",
    [
        [comment(1, 2, 7), comment(2, 2, 9)],  # the asker and a third user
        [comment(1, 3, 7), comment(2, 3, 7)],  # the asker below their own answer
        [comment(1, 1, 7), comment(2, 1, 8)],  # below the question
        [comment(1, 99, 7), comment(2, 99, 8)],  # below a missing post
        [],
    ],
)
def test_without_comments_by_both_there_is_no_thread(tmp_path, comments):
    assert read(site(tmp_path, *comments)) == []


def test_only_rows_of_comments_are_counted(tmp_path):
    tally = ReadStats()
    list(comments.read(site(tmp_path, *TALK, comment(9, 1, 9)), source="se", license="", tally=tally))
    assert tally.rows == 3


def test_a_closed_question_is_dropped_with_a_reason(tmp_path):
    closed = POSTS.replace('Title="How', 'ClosedDate="2013-03-01" Title="How')
    (dropped,) = read(site(tmp_path, *TALK, posts=closed))
    assert (dropped.reason, dropped.place) == ("no_post", f"{tmp_path}/Comments.xml: answer 2")


def test_a_bad_comment_is_reported_with_its_line_and_reading_continues(tmp_path):
    dropped, thread = read(site(tmp_path, comment(9, 2, 7, Score="many"), *TALK))
    assert (dropped.reason, dropped.place) == ("bad_row", f"{tmp_path}/Comments.xml:2")
    assert "'many' is not a number" in dropped.detail
    assert len(thread.remarks) == 2


def test_a_truncated_row_is_reported(tmp_path):
    dropped, thread = read(site(tmp_path, *TALK, comment(9, 2, 7)[:-9]))
    assert dropped.reason == "bad_row"
    assert len(thread.remarks) == 2


def test_an_entity_is_never_resolved(tmp_path):
    head = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n<comments>'
    dropped, thread = read(site(tmp_path, comment(9, 2, 7, "&e;"), *TALK, head=head))
    assert dropped.reason == "bad_row"
    assert [remark.text for remark in thread.remarks] == ["And white?", "Four."]


def test_a_dump_without_comments_is_an_error_that_names_the_missing_file(tmp_path):
    (tmp_path / "Posts.xml").write_text(POSTS)
    with pytest.raises(DumpError, match=r"Comments\.xml not found for .*Posts\.xml; download"):
        read(tmp_path)


def test_an_archive_gives_the_same_threads_as_its_folder(tmp_path):
    folder = ROOT / "corpus/dumps/stack_exchange_other/cooking.example"
    with py7zr.SevenZipFile(tmp_path / "cooking.example.7z", "w") as archive:
        for name in ("Posts.xml", "Users.xml", "Comments.xml"):
            archive.write(folder / name, name)
    unpacked = read(folder)
    assert [thread.provenance.id for thread in unpacked] == ["11", "17"]
    assert read(tmp_path / "cooking.example.7z") == unpacked


@pytest.mark.skipif(not REAL.exists(), reason="the real dumps are not available")
@pytest.mark.parametrize("name", ["beer-2016", "iot-2017"])
def test_a_real_site_has_the_same_threads_as_a_simple_implementation(name):
    from xml.etree import ElementTree

    rows = [row.attrib for row in ElementTree.parse(REAL / name / "Posts.xml").getroot()]
    owner = {row["Id"]: row.get("OwnerUserId") for row in rows}
    spoke = {row["Id"]: set() for row in rows if row["PostTypeId"] == "2"}
    for comment_row in ElementTree.parse(REAL / name / "Comments.xml").getroot():
        spoke.get(comment_row.get("PostId"), set()).add(comment_row.get("UserId"))
    expected = {
        row["Id"]
        for row in rows
        if row["PostTypeId"] == "2"
        and (pair := {owner[row["Id"]], owner.get(row["ParentId"])}) <= spoke[row["Id"]] - {None}
        and len(pair) == 2
    }
    answers = [
        record.provenance.id if isinstance(record, Thread) else record.place.split()[-1] for record in read(REAL / name)
    ]
    assert sorted(answers) == sorted(expected)
