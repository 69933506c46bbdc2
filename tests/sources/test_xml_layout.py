import contextlib
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.records import Candidate, Dropped
from lima.sources.base import DumpError, ReadStats
from lima.sources.blocks import Fill
from lima.sources.stack_exchange.comments import read as read_threads
from lima.sources.stack_exchange.reader import read, xml_layout
from tests.sources.test_comments import comment, site
from tests.sources.test_stack_exchange import answer, both, dump, packed, question

NOTICE = '<!--\n  A notice on how the data may be used.\n  <row Id="9" in a comment is no row />\n-->'
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'


def filled(raw: bytes, sizes: int = 1 << 20) -> Fill:
    at = 0

    def fill(view: memoryview) -> int:
        nonlocal at
        size = min(len(view), sizes, len(raw) - at)
        view[:size] = raw[at : at + size]
        at += size
        return size

    return fill


def normalized(raw: bytes, sizes: int = 1 << 20) -> bytes:
    return xml_layout.stream(xml_layout.one_row_a_line(filled(raw, sizes), shown="t")).read()


def rows(*more: str) -> list[str]:
    return [question(1, Body="<p>a > b</p>", OwnerUserId=7), answer(2, 1, 5), answer(3, 1, 9), *more]


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
    plain, _, counted = both(dump(tmp_path / "plain/s", *rows()))
    (tmp_path / "s").mkdir()
    path = tmp_path / "s/Posts.xml"
    path.write_bytes(layout.format(between.join(rows())).encode())
    if as_archive:
        path = packed(tmp_path / "s.7z", path)
    candidates, dropped, tally = both(path)
    assert (candidates, dropped, tally) == (plain, [], counted)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso-8859-1"])
@pytest.mark.parametrize("between", ["\n  ", ""])
def test_a_table_in_another_encoding_is_transcoded(tmp_path, encoding, between):
    declared = encoding.removesuffix("-le").removesuffix("-be")
    head = f'<?xml version="1.0" encoding="{declared}"?>\n<posts>{between}'
    (tmp_path / "s").mkdir()
    path = tmp_path / "s/Posts.xml"
    path.write_bytes((head + between.join(rows(question(4, Title="Café"))) + "\n</posts>\n").encode(encoding))
    plain, _, _ = both(dump(tmp_path / "plain/s", *rows(question(4, Title="Café"))))
    candidates, dropped, _ = both(path)
    assert (candidates, dropped) == (plain, [])
    assert plain[1].title == "Café"


def test_utf_8_that_is_declared_as_utf_16_is_read_as_utf_8(tmp_path):
    path = dump(tmp_path / "s", *rows(), head='<?xml version="1.0" encoding="utf-16"?>\n<posts>')
    assert both(path)[0] == both(dump(tmp_path / "plain/s", *rows()))[0]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            b'<?xml version="1.0" encoding="klingon"?>\n<posts>',
            "unknown encoding in .*: 'klingon'; convert.*iconv",
        ),
        (b"\xff\xfe<\x00p", "is not valid utf-16.*iconv -f utf-16 -t UTF-8"),
    ],
)
def test_an_unreadable_encoding_is_an_error_with_the_fix(tmp_path, raw, message):
    (tmp_path / "Posts.xml").write_bytes(raw if raw[0] == ord("<") else raw + b"\x00\xd8" + b"<\x00")
    with pytest.raises(DumpError, match=message):
        list(read(tmp_path, source="se", license="", tally=ReadStats()))


def test_an_unclosed_comment_is_an_error(tmp_path):
    path = dump(tmp_path / "s", *rows(), "<!-- never closed", *rows())
    with pytest.raises(DumpError, match="is truncated: it ends within a comment; download it again"):
        both(path)


def test_line_numbers_are_those_of_the_file_with_one_row_per_line(tmp_path):
    (tmp_path / "s").mkdir()
    bad = '<row Id="5" />'
    text = f"{DECLARATION}\n{NOTICE}\n<posts>\n{rows()[0]}\n{bad}\n</posts>"
    (tmp_path / "s/Posts.xml").write_text(text)
    line = text.split("\n").index(bad) + 1
    assert both(tmp_path / "s")[1] == [("bad_row", f"{tmp_path / 's/Posts.xml'}:{line}")]


def test_line_numbers_count_rows_that_span_lines(tmp_path):
    (tmp_path / "s").mkdir()
    bad, wrapped = '<row Id="5" />', rows()[0].replace(" Score", "\n    Score").replace(" Body", "\r\n    Body")
    text = f"{DECLARATION}\n<posts>\n{wrapped}\n<!-- two\nlines -->\n\n{bad}\nstray\n</posts>"
    (tmp_path / "s/Posts.xml").write_bytes(text.encode())
    line = text.split("\n").index(bad) + 1
    [candidate], dropped, _ = both(tmp_path / "s")
    place = tmp_path / "s/Posts.xml"
    assert (candidate.title, candidate.score) == ("t1", 3)
    assert dropped == [("bad_row", f"{place}:{line}"), ("bad_row", f"{place}:{line + 1}")]


def test_rows_after_the_closing_tag_of_a_regular_table_are_read(tmp_path):
    """Two concatenated tables."""
    table = "\n".join([DECLARATION, "<posts>", *rows(), "</posts>", ""])
    (tmp_path / "s").mkdir()
    (tmp_path / "s/Posts.xml").write_text(table + re.sub(r' (Id|ParentId)="', r' \1="1', table))
    candidates, dropped, _ = both(tmp_path / "s")
    assert ([c.provenance.id for c in candidates], dropped) == (["1", "11"], [])


def test_users_and_comments_are_read_in_every_layout(tmp_path):
    folder = site(tmp_path, comment(1, 2, 7), comment(2, 2, 8))
    [expected] = read_threads(folder, source="se", license="", tally=ReadStats())
    for name in ("Posts.xml", "Users.xml", "Comments.xml"):
        path = folder / name
        if path.exists():
            path.write_text(re.sub(r"\s*\n\s*", "", path.read_text()).replace("?>", f"?>{NOTICE}"))
    [thread] = read_threads(folder, source="se", license="", tally=ReadStats())
    assert thread == expected
    users = '<users><row Id="7" DisplayName="Ann"/><row Id="8"\n DisplayName="Bo"></row></users>'
    path = dump(tmp_path / "t", *rows())
    (path.parent / "Users.xml").write_text(users)
    [candidate], dropped, _ = both(path)
    assert (candidate.provenance.author, dropped) == ("Ann (question), Bo (answer)", [])


piece = st.sampled_from(
    [
        *('<row Id="1" A="b"/>', "<row Id='2' />", '<row Id="3"></row>', '<row Id="4" B="x\ny" />', "\n", "  ", "\r\n"),
        *("<!-- c\n<row Id='5'/> -->", "<?pi\n?>", "<posts>", "</posts>", '<row Id="6" cut\n', "stray\n", "<post />\n"),
    ]
)


@given(st.lists(piece, max_size=12), st.integers(1, 40))
def test_rows_are_extracted_from_any_mixture_and_any_size_of_reads(parts, sizes):
    """Expected: the rows among the pieces, outside of comments."""
    raw = "".join(["<posts>", *parts, "<row Id='9'/><row Id='10'/>\n"]).encode()
    lines = [line.strip() for line in normalized(raw, sizes).split(b"\n")]
    expected_rows = [part.replace("\n", " ").strip() for part in parts if part.startswith("<row") and "cut" not in part]
    whole = [line.decode() for line in lines if line.startswith(b"<row") and b"cut" not in line]
    assert whole == [*expected_rows, "<row Id='9'/>", "<row Id='10'/>"]
    assert sum(line in (b"stray", b"<post />") for line in lines) == sum(
        part in ("stray\n", "<post />\n") for part in parts
    )
    for line in whole:
        ET.fromstring(line)


@given(st.lists(st.sampled_from([b'<row Id="1" />', b"  <row cut", b"stray", b"", b'<row Id="2"/>\r']), max_size=9))
def test_a_regular_table_changes_only_outside_of_its_rows(lines):
    body = b"".join(line + b"\n" for line in [b'<row Id="0" />', *lines])
    raw = b"<?xml?>\n<posts>\n" + body + b"</posts>"
    if all(b"cut" not in line for line in lines):
        assert normalized(raw) == b"       \n       \n" + body + b"        "
    by_line = [line for line in body.split(b"\n") if line.strip()]
    assert [line.strip() for line in normalized(raw).split(b"\n") if line.strip()] == [b.strip() for b in by_line]


@given(st.binary(max_size=200), st.integers(1, 9))
def test_any_bytes_are_normalized_or_rejected(raw, sizes):
    with contextlib.suppress(DumpError):
        assert b"<posts>" not in normalized(b"<posts><row/>" + raw, sizes)


def test_a_table_on_one_line_that_is_longer_than_the_row_limit_is_read(tmp_path):
    """2,000 rows of 1 kB: the line has 2 MB, twice the longest row."""
    (tmp_path / "s").mkdir()
    many = [question(n, Body="x" * 1000) for n in range(1, 2001)]
    (tmp_path / "s/Posts.xml").write_text(f"<posts>{''.join(many)}</posts>")
    candidates, dropped, tally = both(tmp_path / "s")
    assert ([c.provenance.id for c in candidates], dropped) == ([str(n) for n in range(1, 2001)], [])
    assert all(isinstance(c, Candidate) for c in candidates)
    assert tally.rows == 2000


@pytest.mark.parametrize("between", ["", "\n"])
@pytest.mark.parametrize("after", ["", "\n<!--\n  A notice on how the data\n  may be used.\n-->\n<?end?>\n"])
def test_a_closing_tag_split_between_two_reads_still_ends_the_rows(monkeypatch, between, after):
    monkeypatch.setattr(xml_layout, "HEAD", 130)  # bytes: the footer fits, a row does not
    row = rows()[0].encode()
    assert len(after) <= 130 < len(row)
    raw = b"<posts>\n" + row + between.encode() + b"</posts>" + after.encode()
    for size in range(1, len(raw)):
        fill, view, output = xml_layout.one_row_a_line(filled(raw), shown="t"), memoryview(bytearray(size)), b""
        while count := fill(view):
            output += view[:count]
        lines = [line.strip() for line in output.split(b"\n")]
        assert ([line for line in lines if line], len(output)) == ([row], len(raw)), size


def test_offsets_are_unchanged_in_regular_tables_only():
    text = "\n".join([DECLARATION, NOTICE, "<posts>", *rows(), "</posts>"]).encode()
    assert xml_layout.keeps_offsets(text, shown="t")
    assert normalized(text).index(rows()[1].encode()) == text.index(rows()[1].encode())
    assert not xml_layout.keeps_offsets("".join([DECLARATION, "<posts>", *rows()]).encode(), shown="t")
    assert not xml_layout.keeps_offsets(text.decode().encode("utf-16"), shown="t")


def test_several_rows_on_a_line_beyond_the_head_are_a_bad_row(tmp_path):
    """The head is 1 MiB; 1,100 rows of 1 kB fill it."""
    many = [question(n, Body="x" * 1000) for n in range(1, 1101)]
    path = dump(tmp_path / "s", *many, question(5001) + question(5002))
    [bad] = [record for record in read(path, source="se", license="", tally=ReadStats()) if isinstance(record, Dropped)]
    assert (bad.reason, bad.detail) == ("bad_row", "2 rows on one line; put each on its own line")
