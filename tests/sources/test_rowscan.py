"""The compiled row parser agrees with lxml on every row that it does not leave to lxml."""

from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import rowscan
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from lima.sources.stack_exchange.reader import row_parser
from tests.sources.test_stack_exchange import REALDATA

WRITTEN = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))
NAME = st.text(st.sampled_from("aZq"), min_size=1, max_size=3)
# code points of character references, valid and invalid in XML
CODES = [0, 1, 9, 10, 13, 31, 32, 38, 60, 127, 128, 0x7FF, 0x800, 0xD7FF, 0xD800, 0xDFFF, 0xE000]
CODES += [0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1FFFE, 0x10FFFF, 0x110000, 9_999_999]
REFERENCES = [
    *("&lt;", "&gt;", "&amp;", "&quot;", "&apos;", "&nbsp;", "&rt;", "&lx;", "&Lt;", "&ampx;", "&quo;", "&;", "&"),
    *("&#;", "&#x;", "&#12x;", "&#xg;", "&#X41;", "&lt", "&#0000000065;", "&#x0000041;", "&amp;lt;", ";", "&#-65;"),
    *(form.format(code) for code in CODES for form in ("&#{};", "&#x{:x};", "&#x{:X};")),
]
BYTES = [
    *(b"\t", b"\r", b"\r\n", b"\n", b"\0", b"\x08", b"\x0b", b"\x1f", b"\x7f", b"<", b">", b"'", b" ", b"/>", b"="),
    *(b"]]>", b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xef\xbf\xbd", b"\xef\xbb\xbf", b"\xef\xbc\x8c", b"\xef", b"\xff"),
    *(b"\xef\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"),
    *(b"\xf0\x9f\xbf\xbe", b"\xc2\x85", b"\xe2\x80\xa8"),
]
PIECE = st.sampled_from([*(reference.encode() for reference in REFERENCES), *BYTES]) | WRITTEN.map(str.encode)
FRAMES = st.sampled_from((b"<row %s />", b"<row %s/>")) | st.sampled_from(
    (b"<row  %s />", b"<row %s  />", b"<rows %s />", b"<row\t%s />", b"<row %s>", b"<row%s/>")
)


def by_lxml(raw: bytes) -> dict[str, str] | None:
    try:
        element = etree.fromstring(raw, row_parser.PARSER)
    except etree.XMLSyntaxError:
        return None
    return dict(element.attrib) if element.tag == "row" else None


@settings(max_examples=500)
@given(st.dictionaries(NAME, WRITTEN, min_size=1), st.sampled_from(["/>", " />"]))
def test_regular_rows_are_parsed_without_lxml(values, end):
    written = " ".join(f"{name}={quoteattr(value, {chr(34): '&quot;'})}" for name, value in values.items())
    raw = f"<row {written}{end}".encode()
    assert rowscan.attributes(raw) == by_lxml(raw) == values


@settings(max_examples=1000)
@given(FRAMES, st.lists(st.tuples(NAME, st.lists(PIECE, max_size=4).map(b"".join)), max_size=4))
def test_rows_not_left_to_lxml_are_parsed_as_by_lxml(frame, values):
    raw = frame % b" ".join(b'%s="%s"' % (name.encode(), value) for name, value in values)
    attributes = rowscan.attributes(raw)
    assert attributes is None or attributes == by_lxml(raw)


ONES = rowscan.Names("a", "Z", "q", "aZ", "aa", "qaq", "Zq", "qq", "ZZ", "aaa", texts=("a", "qaq", "ZZ"))
KNOWN = st.sampled_from(ONES.names)
NO_TEXT = st.sampled_from((b"\xff", b"\xc3", b"\xc3\xa4", b"&#xe4;", b"&nbsp;", b"<", b"\xef\xbf\xbf", b"&lt;"))


@settings(max_examples=1000)
@given(FRAMES, st.lists(st.tuples(KNOWN | NAME, st.lists(NO_TEXT | PIECE, max_size=3).map(b"".join)), max_size=5))
def test_with_names_only_their_texts_are_returned_and_the_same_rows_are_left_to_lxml(frame, values):
    raw = frame % b" ".join(b'%s="%s"' % (name.encode(), value) for name, value in values)
    texts, whole = rowscan.attributes(raw, ONES), rowscan.attributes(raw)
    if whole is None or not whole.keys() <= set(ONES.names):
        assert texts is None
    else:
        assert texts == {name: value for name, value in whole.items() if name in ONES.texts}


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_is_resolved_as_by_lxml_or_left_to_it(reference):
    raw = f'<row A="a{reference}b" B="2" />'.encode()
    attributes = rowscan.attributes(raw)
    assert attributes is None or attributes == by_lxml(raw)
    plain = not reference.startswith(("&#0000", "&#x0000")) and by_lxml(raw) is not None
    assert (attributes is not None) == plain


@pytest.mark.parametrize("piece", BYTES)
@pytest.mark.parametrize("value", [b"%s", b"a%sb", b"a%s"])
def test_a_byte_is_read_as_by_lxml_or_left_to_it(piece, value):
    raw = b'<row A="%s" B="2" />' % (value % piece)
    attributes = rowscan.attributes(raw)
    assert attributes is None or attributes == by_lxml(raw)


WHOLE = b'  <row Id="-12" Body="a &lt;b&#xA;" Score="1234567890123456" />\r\n'
TABLE = rowscan.Names("Id", "Score", "Body", "Bodyguard", numbers=("Id", "Score"))


@settings(max_examples=1000)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 3), st.binary(max_size=3)), max_size=3))
def test_a_changed_row_is_flagged_or_still_a_row(changes):
    raw = WHOLE
    for at, removed, inserted in changes:
        raw = raw[:at] + inserted.replace(b"\n", b" ") + raw[at + removed :]
    raw = raw.replace(b"\n", b" ") + b"\n"
    start, end, odd, numbers, spans = rowscan.scan(np.frombuffer(raw, np.uint8), 1, TABLE)
    assert raw[start[0] : end[0]] == raw[:-1].removesuffix(b"\r")
    if odd[0]:
        assert not numbers.any() and not spans.any()
        return
    # values are not checked here, only that they are the texts between quotation marks
    _, *parts = raw[:-1].split(b'"')
    values = {TABLE.names[n]: raw[first:last] for n, (first, last) in enumerate(spans[0]) if last}
    assert sorted(values.values()) == sorted(parts[::2])
    for name, number in zip(TABLE.numbers, numbers[:, 0], strict=True):
        assert int(values.get(name, b"0")) == number


@pytest.mark.parametrize(
    "row", [b'<row Id="1"/>', b' <row Id="1" />', b'  <row Id="-1" Body="\t" />', b'<row Id="%s" />' % (b"9" * 18)]
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_regular_row_is_not_flagged(row, end):
    start, stop, odd, numbers, _ = rowscan.scan(np.frombuffer(row + end, np.uint8), 1, TABLE)
    assert (row[start[0] : stop[0]], odd.tolist()) == (row, [False])
    assert numbers[0, 0] == int(row.split(b'"')[1])


@pytest.mark.parametrize(
    "row",
    [
        *(b"", b"\r", b"<row />", b"<row/>", b"<row", b"<posts>", b'<rows Id="1" />', b'x<row Id="1" />'),
        *(b'   <row Id="1" />', b'<row Id="1">', b'<row Id="1"', b'<row Id="1"/ >', b'<row Id="1"  />'),
        *(b'<row  Id="1" />', b'<row Id="1" /> ', b'<row Id="1" Id="2" />', b'<row Id=x1" />', b'<row Idx"1" />'),
        *(b'<row id="1" />', b'<row Idd="1" />', b'<row Id="1" Body="a />', b'<row Id="1" Body="\x00" />'),
        *(b'<row Id="1" Body="\x1f" />', b'<row Id="1" Body="\x0b" />', b'<row Id="" />', b'<row Id="-" />'),
        *(b'<row Id="+1" />', b'<row Id=" 1" />', b'<row Id="%s" />' % (b"9" * 19)),
    ],
)
def test_an_irregular_row_is_flagged_and_has_no_values(row):
    lines = b'<row Id="7" Body="b" />\n%s\n<row Id="8" Score="9" />\n' % row
    start, end, odd, numbers, spans = rowscan.scan(np.frombuffer(lines, np.uint8), 3, TABLE)
    assert lines[start[1] : end[1]] == row.removesuffix(b"\r")
    assert odd.tolist() == [False, True, False]
    assert numbers.tolist() == [[7, 0, 8], [0, 0, 9]]
    assert not spans[1].any()


def test_a_name_that_is_a_prefix_of_another_is_distinguished():
    raw = b'<row Bodyguard="1" Body="2" />\n<row Body="3" Bodyguard="4" />\n'
    *_, odd, _, spans = rowscan.scan(np.frombuffer(raw, np.uint8), 2, TABLE)
    assert not odd.any()
    assert [[raw[first:last] for first, last in line[2:]] for line in spans] == [[b"2", b"1"], [b"3", b"4"]]


@pytest.mark.parametrize(("block", "lines"), [(b"", 0), (b"a", 0), (b"\n", 1), (b"a\nb\n\nc", 3), (b"x\n" * 999, 999)])
def test_lines_are_counted(block, lines):
    assert rowscan.lines(np.frombuffer(block, np.uint8)) == lines


def test_too_many_lines_are_an_error():
    with pytest.raises(ValueError, match="2 lines, not 3"):
        rowscan.scan(np.frombuffer(b"a\nb\n", np.uint8), 3, TABLE)


@pytest.mark.parametrize("names", [(), ("A", "A"), tuple(map(str, range(65)))])
def test_names_must_be_1_to_64_distinct_names(names):
    with pytest.raises(ValueError, match="each once"):
        rowscan.Names(*names)


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_numbers_and_texts_must_be_among_the_names(kind):
    with pytest.raises(ValueError, match="among them"):
        rowscan.Names("A", **{kind: ("B",)})


@pytest.mark.skipif(not REALDATA.exists(), reason="the real dumps are not available")
def test_all_real_rows_are_parsed_as_by_lxml():
    files = sorted(Path(REALDATA).glob("*/*.xml"))
    rows = [line.strip() for path in files for line in path.read_bytes().splitlines() if b"<row " in line]
    assert len(rows) > 10_000
    for raw in rows:
        expected = by_lxml(raw)
        assert rowscan.attributes(raw) == expected
        if expected and expected.keys() <= set(row_parser.COLUMNS):
            assert rowscan.attributes(raw, row_parser.TEXT_NAMES) == {
                n: v for n, v in expected.items() if n in row_parser.TEXT_NAMES.texts
            }
