"""Rows of the tables in any layout and encoding: compared with an XML parser, and damaged or malicious ones."""

import re
import time
import tracemalloc
import xml.etree.ElementTree as ET
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Candidate
from lima.sources.base import DumpError, Prefilter, ReadStats
from lima.sources.stack_exchange import reader
from lima.sources.stack_exchange.comments import read as read_threads
from lima.sources.stack_exchange.reader import rows
from lima.sources.stack_exchange.reader.archive import Table
from lima.sources.stack_exchange.reader.rows import BadRow
from tests.sources.test_comments import comment, site
from tests.sources.test_stack_exchange import REALDATA, answer, attributes, both, dump, packed, question

NOTICE = '<!--\n  A notice on how the data may be used.\n  <row Id="9" in a comment is no row />\n-->'
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
ORDER = [
    *("Id", "PostTypeId", "AcceptedAnswerId", "ParentId", "CreationDate", "DeletionDate", "Score", "ViewCount", "Body"),
    *("OwnerUserId", "OwnerDisplayName", "LastEditorUserId", "Title", "Tags", "ClosedDate", "LockedDate"),
]
# characters that XML allows in an attribute
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))
NUMBER = st.integers(-(10**18) + 1, 10**18 - 1).map(str) | st.integers(-20, 2 * 10**8).map(str)
NUMBERS = ("AcceptedAnswerId", "ParentId", "Score", "OwnerUserId")
FIELDS = st.dictionaries(
    st.sampled_from([name for name in ORDER if name not in ("Id", "PostTypeId")]) | st.just("Unknown"), TEXT | NUMBER
)


def scan(folder: Path, raw: bytes, layout: rows.Layout = rows.POSTS) -> list[rows.Columns | BadRow]:
    path = folder / "table.xml"
    path.write_bytes(raw)
    with path.open("rb") as file:
        return list(rows.scan(Table("t", file), layout))


@pytest.mark.parametrize("end", [b"</posts>", b"</posts>\n<!-- later -->\n", b"</posts >\r\n"])
def test_a_table_without_its_end_tag_is_reported_as_truncated(tmp_path, caplog, end):
    body = "\n".join(["<posts>", *some()]).encode() + b"\n"
    whole = scan(tmp_path, body + end)
    assert not caplog.records and len(whole) == 3
    assert scan(tmp_path, body) == whole
    assert [record.getMessage() for record in caplog.records] == [
        "t is truncated: it has no end tag, such as </posts>, so later rows are missing; download it again"
    ]


def some(*more: str) -> list[str]:
    return [question(1, Body="<p>a > b</p>", OwnerUserId=7), answer(2, 1, 5), answer(3, 1, 9), *more]


@given(st.lists(st.tuples(FIELDS, NUMBER, st.sampled_from("12457"), st.booleans()), min_size=1, max_size=6))
def test_numbers_are_those_of_an_xml_parser_in_any_order_of_attributes(tmp_path_factory, drawn):
    lines, expected = [], []
    for fields, number, kind, ordered in drawn:
        values = {**fields, "Id": number, "PostTypeId": kind}
        names = sorted(values, key=ORDER.index if ordered and "Unknown" not in values else None)
        written = " ".join(f"{name}={quoteattr(values[name], {chr(34): '&quot;'})}" for name in names)
        lines.append(f"  <row {written} />")
        needed = {"1": ("Score", "Title", "Body"), "2": ("Score", "ParentId", "Body")}.get(kind, ())
        bad = any(not re.fullmatch(r"[-+]?[0-9]{1,18}", values[name]) for name in NUMBERS if name in values)
        expected.append(None if bad or not set(needed) <= set(values) else ET.fromstring(lines[-1]).attrib)
    result = scan(tmp_path_factory.mktemp("table"), "\n".join(["<posts>", *lines, "</posts>"]).encode())
    assert [isinstance(row, BadRow) for row in result] == [values is None for values in expected]
    for line, (row, values) in enumerate(zip(result, expected, strict=True), start=2):
        if not values:
            assert row.line == line
            continue
        _, size, at_line, number, kind, parent, accepted, score, owner, blank, reason = row
        assert (size, at_line) == (len(lines[line - 2].strip().encode()), line)
        assert (number, kind) == (int(values["Id"]), int(values["PostTypeId"]))
        for value, name in (
            (parent, "ParentId"),
            (accepted, "AcceptedAnswerId"),
            (score, "Score"),
            (owner, NUMBERS[3]),
        ):
            assert value == (int(values[name]) if name in values else None)
        assert blank == (kind in (1, 2) and not values["Body"].strip())
        assert (reason == "closed") <= ("ClosedDate" in values and kind == 1)


def test_a_number_with_a_non_digit_is_a_bad_row(tmp_path):
    # every position at every length, with the characters before 0 and after 9
    whole = [("1234567890123456"[:size], place) for size in range(1, 17) for place in range(size)]
    values = [f"{digits[:place]}{odd}{digits[place + 1 :]}" for digits, place in whole for odd in "/:x"]
    row = '<row Id="1" PostTypeId="2" ParentId="3" Score="{}" Body="b" />'
    result = scan(tmp_path, "\n".join(row.format(value) for value in values).encode())
    assert [isinstance(row, BadRow) for row in result] == [True] * len(values)


LAYOUTS = {
    "notice before the root": f"\ufeff{DECLARATION}\n{NOTICE}\n<posts>\n  {{}}\n</posts>",
    "notice within the root": f"{DECLARATION}\n<posts>\n{NOTICE}\n  {{}}\n</posts>\n",
    "notice on the header's line": f"{DECLARATION}<posts>{NOTICE}{{}}\n</posts>\n",
    "notice after the root": f"{DECLARATION}\n<posts>\n  {{}}\n</posts>\n{NOTICE}\n",
    "a row on the header's line": f"{DECLARATION}<posts>{{}}\n</posts>",
    "a row on the footer's line": f"{DECLARATION}\n<posts>\n{{}}</posts>",
    "no line end at all": f"{DECLARATION}<posts>{{}}</posts>",
    "doctype of several lines": f'{DECLARATION}\n<!DOCTYPE posts [\n  <!ENTITY a "b">\n]>\n<posts>\n{{}}\n</posts>',
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("between", ["", "\n", " ", "\r\n\t", "\n<!-- one\ntwo --> "], ids=repr)
@pytest.mark.parametrize("as_archive", [False, True])
def test_every_layout_of_the_same_rows_gives_the_same_candidates(tmp_path, layout, between, as_archive):
    plain, _, counted = both(dump(tmp_path / "plain/s", *some()))
    (tmp_path / "s").mkdir()
    path = tmp_path / "s/Posts.xml"
    path.write_bytes(layout.format(between.join(some())).encode())
    if as_archive:
        path = packed(tmp_path / "s.7z", path)
    candidates, dropped, tally = both(path)
    assert (candidates, dropped, tally) == (plain, [], counted)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso-8859-1"])
@pytest.mark.parametrize("between", ["\n  ", ""])
@pytest.mark.parametrize("as_archive", [False, True])
def test_a_table_in_another_encoding_is_converted(tmp_path, encoding, between, as_archive):
    declared = encoding.removesuffix("-le").removesuffix("-be")
    head = f'<?xml version="1.0" encoding="{declared}"?>\n<posts>{between}'
    (tmp_path / "s").mkdir()
    path = tmp_path / "s/Posts.xml"
    path.write_bytes((head + between.join(some(question(4, Title="Café"))) + "\n</posts>\n").encode(encoding))
    plain, _, _ = both(dump(tmp_path / "plain/s", *some(question(4, Title="Café"))))
    candidates, dropped, _ = both(packed(tmp_path / "s.7z", path) if as_archive else path)
    assert (candidates, dropped) == (plain, [])
    assert plain[1].title == "Café"


def test_utf_8_that_is_declared_as_utf_16_is_read_as_utf_8(tmp_path):
    path = dump(tmp_path / "s", *some(), head='<?xml version="1.0" encoding="utf-16"?>\n<posts>')
    assert both(path)[0] == both(dump(tmp_path / "plain/s", *some()))[0]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'<?xml version="1.0" encoding="klingon"?>\n<posts>', "unknown encoding in .*: 'klingon'; convert.*iconv"),
        (b"\xff\xfe<\x00p\x00\x00\xd8<\x00", "is not valid utf-16.*iconv -f utf-16 -t UTF-8"),
    ],
)
def test_an_unreadable_encoding_is_an_error_with_the_fix(tmp_path, raw, message):
    (tmp_path / "Posts.xml").write_bytes(raw)
    with pytest.raises(DumpError, match=message):
        list(reader.read(tmp_path, source="se", license="", tally=ReadStats()))


def test_an_unclosed_comment_is_an_error(tmp_path):
    path = dump(tmp_path / "s", *some(), "<!-- never closed", *some())
    with pytest.raises(DumpError, match="is truncated: it ends within a comment; download it again"):
        both(path)


def test_line_numbers_are_those_of_the_file(tmp_path):
    bad, wrapped = '<row Id="5" />', some()[0].replace(" Score", "\n    Score").replace(" Body", "\r\n    Body")
    text = f"{DECLARATION}\n{NOTICE}\n<posts>\n{wrapped}\n<!-- two\nlines -->\n\n{bad}\nstray\n</posts>"
    (tmp_path / "s").mkdir()
    (tmp_path / "s/Posts.xml").write_bytes(text.encode())
    line = text.split("\n").index(bad) + 1
    [candidate], dropped, _ = both(tmp_path / "s")
    place = tmp_path / "s/Posts.xml"
    assert (candidate.title, candidate.score) == ("t1", 3)
    assert dropped == [("bad_row", f"{place}:{line}"), ("bad_row", f"{place}:{line + 1}")]


def test_a_row_of_several_lines_has_the_digest_of_the_same_row_on_one_line(tmp_path):
    row = question(1, Body="a b")
    plain = both(dump(tmp_path / "plain/s", row))[0]
    assert both(dump(tmp_path / "s", row.replace("a b", "a\r\nb").replace(" Score", "\nScore")))[0] == plain


def test_rows_after_the_closing_tag_are_read(tmp_path):
    """Two concatenated tables."""
    table = "\n".join([DECLARATION, "<posts>", *some(), "</posts>", ""])
    (tmp_path / "s").mkdir()
    (tmp_path / "s/Posts.xml").write_text(table + re.sub(r' (Id|ParentId)="', r' \1="1', table))
    candidates, dropped, _ = both(tmp_path / "s")
    assert ([c.provenance.id for c in candidates], dropped) == (["1", "11"], [])


def test_users_and_comments_are_read_in_every_layout(tmp_path):
    folder = site(tmp_path, comment(1, 2, 7), comment(2, 2, 8))
    [expected] = read_threads(folder, source="se", license="", tally=ReadStats())
    for name in ("Posts.xml", "Users.xml", "Comments.xml"):
        path = folder / name
        path.write_text(re.sub(r"\s*\n\s*", "", path.read_text()).replace("?>", f"?>{NOTICE}"))
    [thread] = read_threads(folder, source="se", license="", tally=ReadStats())
    assert thread == expected
    users = '<users><row Id="7" DisplayName="Ann"/><row Id="8"\n DisplayName="Bo"></row></users>'
    path = dump(tmp_path / "t", *some())
    (path.parent / "Users.xml").write_text(users)
    [candidate], dropped, _ = both(path)
    assert (candidate.provenance.author, dropped) == ("Ann (question), Bo (answer)", [])


PIECES = {  # text, and whether a row can be read of it
    **dict.fromkeys((f"<row {order}/>" for order in ('Id="1" PostTypeId="5"', 'PostTypeId="5" Id="1" ')), True),
    **dict.fromkeys(("<row PostTypeId='5' Id='2' />", '<row Id="3" PostTypeId="5"></row>'), True),
    **dict.fromkeys(('<row Id="4" PostTypeId="5" Tags="x\ny" />', '<row\nId="4" PostTypeId="5"/>'), True),
    **dict.fromkeys(("\n", "  ", "\r\n", "<!-- c\n<row Id='5'/> -->", "<?pi\n?>", "<posts>", "</posts>"), None),
    **dict.fromkeys(('<row Id="6" cut\n', "stray\n", "<post />\n", '<row Id="6" Tags="cut\n'), False),
}


@given(st.lists(st.sampled_from([*PIECES]), max_size=12), st.integers(1, 60))
def test_rows_are_found_in_any_mixture_and_any_size_of_reads(tmp_path_factory, parts, size):
    end = "<row PostTypeId='5' Id='9'/>\n"
    raw = "".join(["<posts>", *parts, end])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK", size)
        result = scan(tmp_path_factory.mktemp("table"), raw.encode())
    expected = [PIECES[part] for part in parts if PIECES[part] is not None]
    assert [not isinstance(row, BadRow) for row in result] == [*expected, True]
    assert result[-1][2] == raw.count("\n")
    starts = [row[0] for row in result if not isinstance(row, BadRow)]
    assert all(raw[start:].startswith("<row") for start in starts)


@given(st.binary(max_size=200), st.integers(1, 9))
def test_any_bytes_are_rows_or_bad_rows_or_rejected(tmp_path_factory, raw, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK", size)
        try:
            result = scan(tmp_path_factory.mktemp("table"), b"<posts><row/>" + raw)
        except DumpError as error:
            assert "ends within a comment" in str(error)
        else:
            assert all(row.raw.strip() for row in result if isinstance(row, BadRow))


def test_a_table_on_one_line_of_2_megabytes_is_read(tmp_path):
    (tmp_path / "s").mkdir()
    many = [question(n, Body="x" * 1000) for n in range(1, 2001)]
    (tmp_path / "s/Posts.xml").write_text(f"<posts>{''.join(many)}</posts>")
    candidates, dropped, tally = both(tmp_path / "s")
    assert ([c.provenance.id for c in candidates], dropped) == ([str(n) for n in range(1, 2001)], [])
    assert all(isinstance(c, Candidate) for c in candidates)
    assert tally.rows == 2000


def test_a_row_of_40_megabytes_is_a_bad_row_and_does_not_increase_memory(tmp_path):
    path = dump(tmp_path / "s", question(1), "LONG", answer(2, 1, 5))
    path.write_bytes(path.read_bytes().replace(b"LONG", b'<row Id="9" Body="' + b"x" * 40_000_000 + b'" />'))
    tracemalloc.start()
    candidates, dropped, tally = both(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dropped == [("bad_row", f"{path}:4")]
    assert (len(candidates), tally.rows) == (1, 3)
    assert peak < 25_000_000


@pytest.mark.parametrize("size", [1_500_000, 40_000_000], ids=["within a chunk", "beyond a chunk"])
def test_an_overlong_row_is_reported_with_its_head_and_length(tmp_path, size):
    path = dump(tmp_path / "s", question(1), question(2, Body="y" * size), answer(3, 2, 9))
    bad, kept = reader.read(path, source="se", license="", tally=ReadStats())  # answers to it are skipped
    assert re.fullmatch(f"a row of {str(size)[:4]}\\d+ bytes, at most {rows.MAX_ROW}", bad.detail)
    assert (bad.place, len(bad.raw)) == (f"{path}:4", rows.HEAD)
    assert kept.title == "t1"


@pytest.mark.parametrize("least", [None, 6])
def test_if_the_best_answer_is_unreadable_the_next_one_is_used(tmp_path, least):
    lines = [
        question(1),
        answer(2, 1, 9).replace("b2", "&nothing;"),
        answer(3, 1, 7),
        answer(4, 1, 8).replace("b4", "&#0;"),
    ]
    path = dump(tmp_path / "s", *lines)
    rule = least and Prefilter(
        min_response_score=least, reservoir=0, shares=lambda _, numbers: np.full(len(numbers), 0.5)
    )
    first, second, kept = reader.read(path, source="se", license="", tally=ReadStats(), early=rule)
    assert (first.place, second.place) == (f"{path}:4", f"{path}:6")
    assert kept.response == "<p>b3</p>"


@pytest.mark.parametrize(("next_score", "reason"), [(3, "low_response_score"), (None, "no_answer")])
def test_a_question_is_dropped_if_its_readable_answers_have_too_few_votes(tmp_path, next_score, reason):
    lines = [question(1), answer(2, 1, 12).replace("b2", "&nothing;")]
    lines += [answer(3, 1, next_score)] if next_score else []
    rule = Prefilter(min_response_score=10, reservoir=0, shares=lambda _, numbers: np.full(len(numbers), 0.5))
    path = dump(tmp_path / "s", *lines)
    reasons = [r.reason for r in reader.read(path, source="se", license="", tally=ReadStats(), early=rule)]
    assert reasons == ["bad_row", reason]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Id": 5, "DeletionDate": "2020-01-02"}, "deleted"),
        ({"Id": 5, "LockedDate": "2020-01-02"}, "locked"),
        ({"Id": 5, "OwnerUserId": -2}, "bot_question"),
        ({"Id": 5, "ClosedDate": "2020-01-02", "DeletionDate": "2020-01-02"}, "deleted"),
    ],
)
@pytest.mark.parametrize("layout", ["published", "other"])
def test_deleted_locked_and_bot_posts_are_dropped_in_every_layout(tmp_path, fields, reason, layout):
    known = {"Id": 5, "PostTypeId": 1, "DeletionDate": None, "Score": 1, "Body": "b", "OwnerUserId": 7, "Title": "t"}
    values = {name: value for name, value in (known | fields).items() if value is not None}
    extra = {"Unheard": "x"} if layout == "other" else {}
    path = dump(tmp_path / "s", question(1), attributes(values | extra))
    assert both(path)[1] == [(reason, f"{path}:4")]


@pytest.mark.parametrize(
    "body", [b"a\x00b", b"a\x1bb", b"&#0;", b"&#x1f;", b"\xff\xfe", b"\xed\xa0\x80", b"&laugh9;", b"&#xFFFF;"]
)
def test_characters_that_xml_forbids_are_a_bad_row(tmp_path, body):
    lols = "".join(f'<!ENTITY laugh{n} "{f"&laugh{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<!DOCTYPE posts [<!ENTITY laugh0 "ha">{lols}]>\n<posts>'
    path = dump(tmp_path / "s", question(1), question(2, Body="BODY"), head=head)
    path.write_bytes(path.read_bytes().replace(b"BODY", body))
    candidates, dropped, _ = both(path)
    assert dropped == [("bad_row", f"{path}:4")]
    assert len(candidates) == 1


@pytest.mark.parametrize(
    "hostile", ['<row a="\n', "<row a='", '<row Id="', "<!DOCTYPE [", "<posts ", '<row Id="1"\n/>']
)
def test_reading_malformed_tables_takes_linear_time(tmp_path, hostile):
    """100 kB take a second. If each row searched the rest of the table, they would take minutes."""
    count = 100_000 // len(hostile)
    start = time.process_time()
    result = scan(tmp_path, (hostile * count).encode())
    assert time.process_time() - start < 60
    assert 1 <= len(result) <= 2 * count and all(isinstance(row, BadRow) for row in result)


def test_a_display_name_that_turns_out_unreadable_is_reported(tmp_path):
    path = dump(tmp_path / "s", question(1, OwnerDisplayName="Ann"), answer(2, 1, 5))
    users = path.with_name("Users.xml")
    users.write_text(
        '<users>\n<row Id="7" DisplayName="&nothing;" />\n<row Id="9" DisplayName="&nothing;" />\n</users>'
    )
    [candidate], dropped, _ = both(path)
    assert candidate.provenance.author == "Ann (question), user 8 (answer)"
    assert dropped == [("bad_user", f"{users}:2")]  # user 9 wrote nothing


REAL = sorted(REALDATA.glob("*/Posts.xml"))


@pytest.mark.skipif(not REAL, reason="the real dumps are not available")
def test_the_selected_answer_of_200_real_questions_has_the_highest_score():
    checked = 0
    for path in REAL:
        elements = [row.attrib for row in ET.parse(path).getroot()]
        by_id = {row["Id"]: row for row in elements}
        scores: dict[str, list[int]] = {}
        for row in elements:
            if row["PostTypeId"] == "2":
                scores.setdefault(row["ParentId"], []).append(int(row["Score"]))
        several = [c for c in both(path)[0] if len(scores.get(c.provenance.id, ())) > 1][:25]
        for candidate in several:
            selected = by_id[candidate.provenance.url.rsplit("/", 1)[1]]
            assert int(selected["Score"]) == max(scores[candidate.provenance.id]) == candidate.response_score
            assert selected["Body"] == candidate.response
        checked += len(several)
    assert checked >= 200


def test_candidates_are_in_the_order_of_the_dump(tmp_path):
    numbers = [n * 7919 % 1000 for n in range(1000)]
    candidates, _, _ = both(dump(tmp_path / "s", *(question(number) for number in numbers)))
    assert [int(c.provenance.id) for c in candidates] == numbers
