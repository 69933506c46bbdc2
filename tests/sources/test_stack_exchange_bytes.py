"""The byte-level scan compared with an XML parser, and protection against malicious dumps."""

import tracemalloc
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lima.records import Candidate
from lima.sources import blocks
from lima.sources.base import Prefilter, ReadStats
from lima.sources.blocks import LineBlock, OverlongBlock
from lima.sources.spill import PARTS, Spill, by_key, by_range
from lima.sources.stack_exchange import reader
from lima.sources.stack_exchange.reader import row_parser, xml_layout
from lima.sources.stack_exchange.reader.table import FAULTS, NONE, POSTS, page
from tests.sources.test_stack_exchange import REALDATA, answer, attributes, both, dump, question

# characters that XML allows in an attribute
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))
NUMBER = st.integers(-(10**18) + 1, 10**18 - 1).map(str) | st.integers(-20, 2 * 10**8).map(str)
FIELDS = st.dictionaries(
    st.sampled_from([name for name in POSTS.names if name not in ("Id", "PostTypeId")]) | st.just("Unknown"),
    TEXT | NUMBER,
)


def block(*lines: bytes) -> LineBlock:
    return LineBlock(np.frombuffer(b"\n".join([*lines, b""]), np.uint8), 0, 1, len(lines))


def filler(data: bytes, most: int):
    """A stream that yields at most `most` bytes at a time."""
    left = memoryview(data)

    def fill(view: memoryview) -> int:
        nonlocal left
        size = min(most, len(view), len(left))
        view[:size] = left[:size]
        left = left[size:]
        return size

    return fill


@settings(max_examples=400)
@given(st.lists(st.tuples(FIELDS, NUMBER, st.sampled_from("12457"), st.integers(0, 10**6)), min_size=1, max_size=6))
def test_columns_have_the_values_of_an_xml_parser(drawn):
    lines, expected = [], []
    for fields, number, kind, order in drawn:
        items = list({**fields, "Id": number, "PostTypeId": kind}.items())
        turn = order % len(items)
        written = " ".join(
            f"{name}={quoteattr(value, {chr(34): '&quot;'})}" for name, value in items[turn:] + items[:turn]
        )
        lines.append(f"  <row {written} />".encode())
        element = ET.fromstring(lines[-1])
        try:
            expected.append((row_parser.post(lines[-1].strip()), element.attrib))
        except row_parser.UnreadableRow:
            expected.append((None, element.attrib))
    result = page(block(*lines), shown="x")
    assert result.rows == len(lines)
    assert len(result.bad) == sum(post is None for post, _ in expected)
    for record, (post, attrib) in zip(result.posts, [pair for pair in expected if pair[0]], strict=True):
        assert (record["id"], record["kind"]) == (int(attrib["Id"]), int(attrib["PostTypeId"]))
        assert record["score"] == (post.score if post.kind in (1, 2) else record["score"])
        assert record["parent"] == (NONE if post.parent is None else post.parent) or post.kind != 2
        assert record["accepted"] == (NONE if post.accepted is None else post.accepted)
        assert record["owner"] == (NONE if post.owner is None else post.owner)
        assert (FAULTS[record["fault"]] == "closed") <= ("ClosedDate" in attrib)
        assert record["blank"] == (not post.body.strip()) or post.kind not in (1, 2)


def test_a_number_with_a_non_digit_is_a_bad_row():
    # every position at every length, with the characters before 0 and after 9
    whole = [("1234567890123456"[:size], place) for size in range(1, 17) for place in range(size)]
    values = [f"{digits[:place]}{odd}{digits[place + 1 :]}" for digits, place in whole for odd in "/:x"]
    row = '<row Id="1" PostTypeId="2" ParentId="3" Score="{}" Body="b" />'
    result = page(block(*(row.format(value).encode() for value in values)), shown="x")
    assert (len(result.bad), len(result.posts)) == (len(values), 0)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b" ")), min_size=1, max_size=5))
def test_any_line_is_a_post_or_a_bad_row_or_not_a_row(lines):
    result = page(block(*lines), shown="x")
    rows = [line for line in lines if xml_layout.stripped(line.removesuffix(b"\r"))]
    assert result.rows == len(rows) == len(result.posts) + len(result.bad)


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_blocks_split_the_stream_at_line_ends(monkeypatch, most):
    monkeypatch.setattr(blocks, "BLOCK", 64)
    data = b"".join(b"%d %s\n" % (n, b"x" * (n * 37 % 150)) for n in range(60)) + b"no end"
    seen, pieces = b"", 0
    for piece in blocks.blocks(filler(data, most)):
        assert isinstance(piece, LineBlock)
        assert (piece.offset, piece.line) == (len(seen), seen.count(b"\n") + 1)
        seen, pieces = seen + piece.bytes.tobytes(), pieces + 1
    assert seen == data + b"\n"
    assert pieces > 10


@pytest.mark.parametrize("around", [b"", b"a\n", b"a\nb\n"])
@pytest.mark.parametrize("after", [b"", b"\n", b"\nc\n", b"\n" + b"d\n" * 100])
def test_an_overlong_line_is_reported_by_its_head_and_length(monkeypatch, around, after):
    monkeypatch.setattr(blocks, "BLOCK", 64)
    monkeypatch.setattr(blocks, "MOST", 256)
    size = 1000
    pieces, seen = [], []
    for piece in blocks.blocks(filler(around + b"z" * size + after, 50)):
        pieces.append(piece)
        seen += [b"long"] if isinstance(piece, OverlongBlock) else piece.bytes.tobytes().split()
    [long] = [piece for piece in pieces if isinstance(piece, OverlongBlock)]
    assert (long.size, long.line, set(long.head)) == (size, around.count(b"\n") + 1, {ord("z")})
    assert seen == [*around.split(), b"long", *after.split()]


def test_a_row_of_40_megabytes_is_a_bad_row_and_does_not_increase_memory(tmp_path):
    path = dump(tmp_path / "s", question(1), "LONG", answer(2, 1, 5))
    path.write_bytes(path.read_bytes().replace(b"LONG", b'<row Id="9" Body="' + b"x" * 40_000_000 + b'" />'))
    tracemalloc.start()
    candidates, dropped, tally = both(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dropped == [("bad_row", f"{path}:4")]
    assert (len(candidates), tally.rows) == (1, 3)
    assert peak < 20_000_000


def test_an_overlong_row_is_reported_with_its_head_and_length(tmp_path):
    path = dump(tmp_path / "s", question(1), question(2, Body="y" * 1_500_000))
    bad, _ = reader.read(path, source="se", license="", tally=ReadStats())
    assert bad.detail.startswith("a row of 1500") and len(bad.raw) == blocks.HEAD


@pytest.mark.parametrize("size", [1_500_000, 4_000_000], ids=["within a block", "beyond a block"])
def test_answers_to_an_overlong_question_are_skipped(tmp_path, size):
    path = dump(tmp_path / "s", question(1), question(2, Body="y" * size), answer(3, 2, 9))
    assert both(path)[1] == [("bad_row", f"{path}:4")]


@pytest.mark.parametrize("least", [None, 6])
def test_if_the_best_answer_is_unreadable_the_next_one_is_used(tmp_path, least):
    rows = [
        question(1),
        answer(2, 1, 9).replace("b2", "&nothing;"),
        answer(3, 1, 7),
        answer(4, 1, 8).replace("b4", "&#0;"),
    ]
    path = dump(tmp_path / "s", *rows)
    rule = least and Prefilter(
        min_response_score=least, reservoir=0, shares=lambda _, numbers: np.full(len(numbers), 0.5)
    )
    first, second, kept = reader.read(path, source="se", license="", tally=ReadStats(), early=rule)
    assert {first.place, second.place} == {f"{path}:4", f"{path}:6"}
    assert kept.response == "<p>b3</p>"


@pytest.mark.parametrize(("next_score", "reason"), [(3, "low_response_score"), (None, "no_answer")])
def test_a_question_is_dropped_if_its_readable_answers_have_too_few_votes(tmp_path, next_score, reason):
    rows = [question(1), answer(2, 1, 12).replace("b2", "&nothing;")]
    rows += [answer(3, 1, next_score)] if next_score else []
    rule = Prefilter(min_response_score=10, reservoir=0, shares=lambda _, numbers: np.full(len(numbers), 0.5))
    path = dump(tmp_path / "s", *rows)
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
@pytest.mark.parametrize("way", ["fast", "exact"])
def test_deleted_locked_and_bot_posts_are_dropped_by_both_parsers(tmp_path, fields, reason, way):
    known = {"PostTypeId": 1, "Score": 1, "Title": "t", "Body": "b", "OwnerUserId": 7}
    extra = {"Unheard": "x"} if way == "exact" else {}
    path = dump(tmp_path / "s", question(1), attributes(known | fields | extra))
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


def test_spilled_records_are_read_back_by_partition(tmp_path):
    kind = np.dtype([("id", "i8")])
    ids = np.arange(50_000, dtype=np.int64)
    with Spill(tmp_path, kind) as spill:
        for some in np.array_split(ids, 7):
            spill.add(some.astype(kind), by_key(some))
        parts = [part["id"] for part in spill.parts()]
    assert sorted(np.concatenate(parts).tolist()) == ids.tolist()
    # 50,000 / 64 = 781 per partition; consecutive keys are spread evenly
    assert max(map(len, parts)) < 2 * 50_000 / PARTS
    with Spill(tmp_path, kind) as spill:
        spill.add(ids[::-1].astype(kind), by_range(ids[::-1], below=50_000))
        ranges = [part["id"] for part in spill.parts()]
    assert all(left.max() < right.min() for left, right in pairwise(ranges))


REAL = sorted(REALDATA.glob("*/Posts.xml"))


@pytest.mark.skipif(not REAL, reason="the real dumps are not available")
def test_the_selected_answer_of_200_real_questions_has_the_highest_score():
    checked = 0
    for path in REAL:
        rows = [row.attrib for row in ET.parse(path).getroot()]
        by_id = {row["Id"]: row for row in rows}
        scores: dict[str, list[int]] = {}
        for row in rows:
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
    assert all(isinstance(c, Candidate) for c in candidates)
    assert Path(tmp_path).exists()
