import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import py7zr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Candidate
from lima.sources.base import DumpError, ReadStats, digest
from lima.sources.stack_exchange.reader import archive, read, rows

REALDATA = Path(__file__).parents[3] / "shared/realdata/stack_exchange"
DAY = "2020-01-01T00:00:00.000"


def attributes(fields: dict[str, object]) -> str:
    """A row as a dump writes it, on one line."""
    row = ET.Element("row", {name: str(value) for name, value in fields.items()})
    return ET.tostring(row, encoding="unicode")


def question(number: int, **fields: object) -> str:
    known = {"Id": number, "PostTypeId": 1, "CreationDate": DAY, "Score": 3, "OwnerUserId": 7}
    return attributes(known | {"Body": f"<p>b{number}</p>", "Title": f"t{number}", "Tags": "<a><b>"} | fields)


def answer(number: int, parent: int, score: object, **fields: object) -> str:
    known = {"Id": number, "PostTypeId": 2, "ParentId": parent, "CreationDate": DAY, "Score": score, "OwnerUserId": 8}
    return attributes(known | {"Body": f"<p>b{number}</p>"} | fields)


def dump(
    folder: Path, *rows: str, head: str = '<?xml version="1.0" encoding="utf-8"?>\n<posts>', end: str = "\n"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "Posts.xml"
    path.write_bytes((end.join([*head.split("\n"), *(f"  {row}" for row in rows), "</posts>"])).encode())
    return path


def packed(archive_: Path, posts_: Path, name: str = "Posts.xml") -> Path:
    with py7zr.SevenZipFile(archive_, "w", filters=[{"id": py7zr.FILTER_BZIP2}]) as seven:
        seven.write(posts_, name)
    return archive_


def both(path: Path) -> tuple[list[Candidate], list[tuple[str, str]], ReadStats]:
    """The candidates, and reason and place of what was dropped."""
    tally = ReadStats()
    records = list(read(path, source="se", license="CC BY-SA", tally=tally))
    dropped = [(record.reason, record.place) for record in records if not isinstance(record, Candidate)]
    return [record for record in records if isinstance(record, Candidate)], dropped, tally


def test_a_question_becomes_a_candidate_with_its_attribution(tmp_path):
    rows = [
        question(1, AcceptedAnswerId=3, OwnerDisplayName="Ann"),
        answer(2, 1, 9),
        answer(3, 1, 10, OwnerDisplayName="Bo"),
    ]
    path = dump(tmp_path / "beer.stackexchange.com", *rows)
    [candidate], dropped, tally = both(path.parent)
    assert dropped == []
    assert tally == ReadStats(rows=3, questions=1, answers=2)
    assert candidate.id == "se/beer.stackexchange.com/1"
    assert (candidate.title, candidate.description, candidate.response) == ("t1", "<p>b1</p>", "<p>b3</p>")
    assert (candidate.score, candidate.response_score, candidate.tags) == (3, 10, ("a", "b"))
    about = candidate.provenance
    assert about.url == "https://beer.stackexchange.com/a/3"
    assert about.author == "Ann (question), Bo (answer)"
    assert about.license == "CC BY-SA 4.0"
    assert about.digest == digest(f"{rows[0]}\n{rows[2]}".encode())


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 4, 0, 3, 1)])
def test_the_best_answer_has_the_highest_score_in_any_order_of_rows(tmp_path, order):
    # 10 > 9 as numbers, though "9" > "10" as text
    rows = [question(1), answer(2, 1, 9), answer(3, 1, 10), answer(4, 1, -20), answer(5, 1, 8)]
    [candidate], _, _ = both(dump(tmp_path / "s", *(rows[n] for n in order)))
    assert candidate.response == "<p>b3</p>"


def test_ties_are_broken_by_acceptance_then_by_age(tmp_path):
    rows = [question(1, AcceptedAnswerId=5), *(answer(n, 1, 4) for n in (6, 5, 4))]
    rows += [question(2), *(answer(n, 2, 4) for n in (9, 8, 10))]
    candidates, _, _ = both(dump(tmp_path / "s", *rows))
    assert [candidate.response for candidate in candidates] == ["<p>b5</p>", "<p>b8</p>"]


def test_an_accepted_answer_with_fewer_votes_loses_to_the_best(tmp_path):
    rows = [question(1, AcceptedAnswerId=2), answer(2, 1, 8), answer(3, 1, 9), answer(4, 1, -1)]
    [candidate], _, _ = both(dump(tmp_path / "s", *rows))
    assert (candidate.response, candidate.response_score) == ("<p>b3</p>", 9)


@pytest.mark.parametrize("lost", ["Score", "Title", "Body"])
def test_answers_to_an_unreadable_question_are_skipped(tmp_path, lost):
    broken = re.sub(rf' {lost}="[^"]*"', "", question(1))
    # the parent of 7 is 6, an unreadable answer and not a question
    rows = [broken, answer(2, 1, 5), question(3), answer(4, 3, 5), answer(6, 3, "x"), answer(7, 6, 5)]
    candidates, dropped, tally = both(dump(tmp_path / "s", *rows))
    assert [candidate.provenance.id for candidate in candidates] == ["3"]
    path = tmp_path / "s/Posts.xml"
    assert dropped == [("bad_row", f"{path}:3"), ("bad_row", f"{path}:7"), ("orphan_answer", f"{path}:8")]
    assert tally == ReadStats(rows=6, questions=1, answers=3)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("stackoverflow", "stackoverflow.com"),
        ("stackoverflow.com", "stackoverflow.com"),
        ("StackOverflow", "stackoverflow.com"),
        ("serverfault", "serverfault.com"),
        ("superuser", "superuser.com"),
        ("askubuntu", "askubuntu.com"),
        ("stackapps", "stackapps.com"),
        ("mathoverflow", "mathoverflow.net"),
        ("mathoverflow.net", "mathoverflow.net"),
        *((f"{code}.stackoverflow", f"{code}.stackoverflow.com") for code in ("pt", "es", "ru", "ja")),
        ("meta.stackoverflow", "meta.stackoverflow.com"),
        ("stackoverflow.meta", "meta.stackoverflow.com"),
        ("meta.stackoverflow.com", "meta.stackoverflow.com"),
        ("pt.meta.stackoverflow", "pt.meta.stackoverflow.com"),
        ("mathoverflow.meta", "meta.mathoverflow.net"),
        ("meta", "meta.stackexchange.com"),
        ("meta.stackexchange", "meta.stackexchange.com"),
        ("meta.stackexchange.com", "meta.stackexchange.com"),
        ("beer", "beer.stackexchange.com"),
        ("beer.stackexchange", "beer.stackexchange.com"),
        ("beer.stackexchange.com", "beer.stackexchange.com"),
        ("beer.meta", "beer.meta.stackexchange.com"),
        ("meta.beer", "beer.meta.stackexchange.com"),
        ("beer.meta.stackexchange.com", "beer.meta.stackexchange.com"),
        ("es", "es.stackexchange.com"),
    ],
)
@pytest.mark.parametrize("as_archive", [False, True])
def test_the_url_has_the_sites_host(tmp_path, name, address, as_archive):
    path = dump(tmp_path / name, question(1), answer(2, 1, 5))
    path = packed(tmp_path / f"{name}.7z", path) if as_archive else path
    [candidate], _, _ = both(path)
    assert candidate.provenance.url == f"https://{address}/a/2"


def test_an_unanswered_question_has_no_response_and_its_own_url(tmp_path):
    [candidate], _, _ = both(dump(tmp_path / "beer", question(1)))
    assert (candidate.response, candidate.response_score) == ("", None)
    assert candidate.provenance.url == "https://beer.stackexchange.com/q/1"
    assert candidate.provenance.author == "user 7"


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("tags", ["<a><b>", "|a|b|"])
@pytest.mark.parametrize(
    "extra", ["", "\n<!-- a comment of 2024 -->", "\n<!DOCTYPE posts SYSTEM 'file:///etc/passwd'>"]
)
def test_both_generations_of_the_format_give_the_same_candidates(tmp_path, bom, end, tags, extra):
    head = f'{bom}<?xml version="1.0" encoding="utf-8"?>{extra}\n<posts>'
    path = dump(tmp_path / "s", question(1, Tags=tags), answer(2, 1, 5), head=head, end=end)
    [candidate], dropped, tally = both(path)
    assert (candidate.tags, candidate.response, dropped) == (("a", "b"), "<p>b2</p>", [])
    assert tally.rows == 2


@pytest.mark.parametrize(
    ("day", "license"),
    [
        ("2011-04-07T23:59:59.999", "CC BY-SA 2.5"),
        ("2011-04-08T00:00:00.000", "CC BY-SA 3.0"),
        ("2018-05-01T23:59:59.999", "CC BY-SA 3.0"),
        ("2018-05-02T00:00:00.000", "CC BY-SA 4.0"),
        ("2018-05-02", "CC BY-SA 4.0"),
        ("once", "CC BY-SA"),  # the source's license in params.yaml
    ],
)
def test_a_row_without_a_license_has_that_of_its_creation_date(tmp_path, day, license):
    [candidate], _, _ = both(dump(tmp_path / "s", question(1, CreationDate=day)))
    assert candidate.provenance.license == license


def test_a_rows_own_license_takes_precedence_and_two_licenses_are_both_named(tmp_path):
    rows = [question(1, ContentLicense="CC BY-SA 2.5"), answer(2, 1, 5)]
    [candidate], _, _ = both(dump(tmp_path / "s", *rows))
    assert candidate.provenance.license == "CC BY-SA 2.5 (question), CC BY-SA 4.0 (answer)"


def test_author_names_come_from_users_xml_if_it_exists(tmp_path):
    path = dump(tmp_path / "s", question(1), answer(2, 1, 5))
    users = ['<row Id="7" DisplayName="Ann" />', '<row Id="x" DisplayName="Eve" />', '<row Id="8" DisplayName="Bo" />']
    path.with_name("Users.xml").write_text("\n".join(["<users>", *users, "</users>"]))
    [candidate], dropped, tally = both(path)
    assert candidate.provenance.author == "Ann (question), Bo (answer)"
    assert dropped == [("bad_user", f"{path.with_name('Users.xml')}:3")]
    assert tally.rows == 2


def test_unsuitable_posts_are_dropped_with_a_reason(tmp_path):
    rows = [
        question(1),
        answer(2, 1, 99, OwnerUserId=-2),
        answer(3, 1, 1, OwnerUserId=-1),  # the Community user owns wiki answers, which people wrote
        question(1000000001, OwnerUserId=-1),
        answer(1000000010, 1, 99, OwnerUserId=-1),
        question(4, ClosedDate=DAY),
        answer(5, 4, 50),
        answer(6, 77, 50),
        question(1, Title="again"),
        attributes({"Id": 8, "PostTypeId": 5, "Body": ""}),
    ]
    path = dump(tmp_path / "s", *rows)
    [candidate], dropped, tally = both(path)
    assert (candidate.title, candidate.response) == ("t1", "<p>b3</p>")
    reasons = {4: "bot_answer", 6: "fabricated", 7: "fabricated", 8: "closed", 10: "orphan_answer", 11: "duplicate_id"}
    assert dropped == [(reason, f"{path}:{number}") for number, reason in reasons.items()]
    assert tally == ReadStats(rows=10, questions=4, answers=5)


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ('<row Id="5" PostTypeId="1" Score="3" Body="cut in ha', "invalid XML: "),
        ("no row at all", "invalid XML: "),
        ('<row Id="5" Body="a" & b />', "invalid XML: "),
        ('<row Id="5" PostTypeId="1" Body="&unknown;" />', "invalid XML: "),
        ('<post Id="5" />', "an element <post>, not <row>"),
        (question(5, Score="many"), "Score 'many' is not a number"),
        (question(5, Score="1e3"), "Score '1e3' is not a number"),
        (question(5, Score="9" * 400), "Score '9999"),
        (attributes({"PostTypeId": 1}), "missing (Id|PostTypeId)"),
        (attributes({"Id": 5}), "missing PostTypeId"),
        (attributes({"Id": 5, "PostTypeId": 1, "Body": "x", "Title": "x"}), "missing Score"),
        (attributes({"Id": 5, "PostTypeId": 1, "Score": 1, "Title": "x"}), "missing Body"),
        (attributes({"Id": 5, "PostTypeId": 1, "Score": 1, "Body": "x"}), "missing Title"),
        (attributes({"Id": 5, "PostTypeId": 2, "Score": 1, "Body": "x"}), "missing ParentId"),
    ],
)
def test_a_bad_row_is_reported_with_its_place_and_reading_continues(tmp_path, row, detail):
    path = dump(tmp_path / "s", question(1), row, answer(2, 1, 5))
    tally = ReadStats()
    bad, candidate = read(path, source="se", license="", tally=tally)
    assert (bad.reason, bad.place, bad.raw) == ("bad_row", f"{path}:4", row)
    assert re.match(detail, bad.detail)
    assert candidate.response == "<p>b2</p>"
    assert tally == ReadStats(rows=3, questions=1, answers=1)


def test_invalid_utf_8_is_a_bad_row(tmp_path):
    path = dump(tmp_path / "s", question(1))
    path.write_bytes(path.read_bytes().replace(b"</posts>", b'<row Id="2" Title="\xff" />\n</posts>'))
    bad, _ = read(path, source="se", license="", tally=ReadStats())
    assert bad.raw == '<row Id="2" Title="\\xff" />'


def test_an_entity_of_the_doctype_is_not_resolved(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    head = f'<!DOCTYPE posts [<!ENTITY x SYSTEM "{secret.as_uri()}">]>\n<posts>'
    row = question(5).replace("b5", "&x;", 1)
    candidates, [(reason, _)], _ = both(dump(tmp_path / "s", row, question(6), head=head))
    assert reason == "bad_row"
    assert "secret" not in candidates[0].model_dump_json()


@given(st.binary(max_size=80))
def test_any_text_is_a_post_or_an_unreadable_row(raw):
    try:
        rows.post_texts(raw)
    except rows.UnreadableRow as error:
        assert str(error)


@pytest.mark.parametrize("text", ["", "<posts>\n</posts>", '\ufeff<?xml version="1.0"?>\n<posts />'])
def test_a_dump_without_rows_is_an_error(tmp_path, text):
    path = tmp_path / "Posts.xml"
    path.write_text(text)
    with pytest.raises(DumpError, match=f"no posts in {path}; download the dump again"):
        both(tmp_path)


def test_a_missing_dump_is_an_error(tmp_path):
    with pytest.raises(DumpError, match=r"there is no .*nowhere; put the dump there"):
        both(tmp_path / "nowhere")
    with pytest.raises(DumpError, match=r"holds no file named \*\.7z or \*posts\.xml"):
        both(tmp_path)


def test_two_dumps_of_a_site_are_an_error(tmp_path):
    path = dump(tmp_path / "beer.stackexchange.com", question(1))
    packed(tmp_path / "beer.stackexchange.com.7z", path)
    with pytest.raises(DumpError, match=r"two dumps of site beer\.stackexchange\.com: .*; keep one of them"):
        both(tmp_path)


@pytest.mark.parametrize("name", ["beer.stackexchange.com.7z", "beer.stackexchange.com-Posts.7z"])
def test_an_archive_gives_the_same_as_its_posts_xml(tmp_path, name):
    path = dump(tmp_path / "beer.stackexchange.com", question(1), "no row", answer(2, 1, 5))
    candidates, [(reason, place)], tally = both(packed(tmp_path / name, path))
    assert (candidates, tally) == (both(path)[0], both(path)[2])
    assert (reason, place) == ("bad_row", f"{tmp_path / name}/Posts.xml:4")


def test_a_truncated_archive_is_an_error_that_names_it(tmp_path):
    whole = packed(tmp_path / "whole.7z", dump(tmp_path / "s", question(1), answer(2, 1, 5))).read_bytes()
    cut = tmp_path / "cut.7z"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(DumpError, match=r"damaged 7z archive: .*cut\.7z .*; download the archive again"):
            both(cut)


def test_an_archive_with_a_changed_byte_is_an_error_or_gives_the_same(tmp_path):
    path = dump(tmp_path / "s", question(1), answer(2, 1, 5))
    whole, expected = packed(tmp_path / "s.7z", path).read_bytes(), both(path)[0]
    changed = tmp_path / "changed" / "s.7z"
    changed.parent.mkdir()
    for place in range(len(whole)):
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert both(changed)[0] == expected
        except DumpError as error:
            assert str(changed) in str(error)


@pytest.mark.parametrize("name", ["deep/MyPosts.xml", "Pages.xml"])
def test_an_archive_without_posts_xml_is_an_error(tmp_path, name):
    seven = packed(tmp_path / "s.7z", dump(tmp_path / "s", question(1)), name)
    with pytest.raises(DumpError, match=rf"s\.7z contains {name} … but no Posts\.xml, .* not a Stack Exchange archive"):
        both(seven)


def test_an_archive_larger_than_the_free_disk_space_is_not_unpacked(tmp_path):
    with pytest.raises(DumpError, match="up to 12 bytes needed, 11 free; set TMPDIR"):
        archive.check_disk_space(tmp_path, 12, free=11)
    archive.check_disk_space(tmp_path, 12, free=12)


REAL = sorted([*REALDATA.glob("*/Posts.xml"), *REALDATA.glob("*.com.7z")])


@pytest.mark.skipif(not REAL, reason="the real dumps are not available")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name if path.suffix == ".7z" else path.parent.name)
def test_every_post_of_a_real_dump_is_counted_and_the_best_answer_selected(path, tmp_path):
    file = path
    if path.suffix == ".7z":
        with py7zr.SevenZipFile(path) as seven:
            seven.extract(tmp_path, targets=["Posts.xml"])
        file = tmp_path / "Posts.xml"
    rows = [row.attrib for row in ET.parse(file).getroot()]  # another parser, over the whole file
    kinds = Counter(row["PostTypeId"] for row in rows)
    candidates, dropped, tally = both(path)
    assert tally == ReadStats(rows=len(rows), questions=kinds["1"], answers=kinds["2"])
    assert [reason for reason, _ in dropped] == ["closed"] * sum("ClosedDate" in row for row in rows)
    assert len(candidates) == kinds["1"] - len(dropped)
    highest: dict[str, int] = {}
    for row in rows:
        if row["PostTypeId"] == "2":
            highest[row["ParentId"]] = max(int(row["Score"]), highest.get(row["ParentId"], int(row["Score"])))
    assert {c.provenance.id: c.response_score for c in candidates} == {
        c.provenance.id: highest.get(c.provenance.id) for c in candidates
    }


@pytest.mark.skipif(not REAL, reason="the real dumps are not available")
def test_an_archive_of_another_format_is_an_error():
    with pytest.raises(DumpError, match=r"other_method\.7z contains Posts/Post1\.knolml.* but no Posts\.xml"):
        both(REALDATA / "other_method.7z")
