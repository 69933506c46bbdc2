import json
import os
import threading

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lima.sources import lines, zst
from lima.sources.base import DumpError
from lima.sources.lines import Lines, OverlongLine


def listed(path) -> list[tuple[int, bytes]]:
    return [found for part in lines.read(path) if isinstance(part, Lines) for found in lines.each(part)]


@given(st.lists(st.binary(min_size=1, max_size=20) | st.sampled_from([b"\n", b"\n\n", b"{}\n"]), max_size=20))
def test_blocks_cut_anywhere_give_the_same_lines(blocks):
    text = b"".join(blocks)
    expected = list(enumerate(text.removesuffix(b"\n").split(b"\n"), start=1)) if text else []
    found = [line for part in lines.whole(blocks) for line in lines.each(part)]
    assert found == [(number, line.rstrip(b"\r")) for number, line in expected]


PIECES = [b"a", b"A", b"b", b"\n", b"{", b"}", b'"x"', b'"X"', b"\r\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=60), st.integers(1, 7))
def test_the_lines_that_have_a_needle_in_any_case_or_are_torn_are_those_that_a_loop_finds(pieces, size):
    text = b"".join(pieces)
    parts = list(lines.whole(text[at : at + size] for at in range(0, len(text), size)))
    all_lines = [found for part in parts for found in lines.each(part)]
    room = np.empty(4, np.uint8)  # less than most blocks need
    whole = [found for part in parts for found in lines.having(part, [b'"x"', b"Ab"], room)]
    cut = text.removesuffix(b"\n").split(b"\n")
    for (number, line), raw in zip(all_lines, cut, strict=False):
        torn = raw[:1] != b"{" or raw[-1:] != b"}"
        assert ((number, line) in whole) == (torn or b'"x"' in raw.lower() or b"ab" in raw.lower())


def test_of_a_line_that_is_too_long_the_length_and_the_head_are_kept(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE", 5)
    monkeypatch.setattr(lines, "HEAD", 3)
    parts = list(lines.whole([b"12", b"34\n1", b"23", b"456", b"7\nab\n12345", b"6"]))
    assert [part for part in parts if isinstance(part, OverlongLine)] == [
        OverlongLine(2, 8, b"123"),
        OverlongLine(4, 6, b"123"),
    ]
    assert [found for part in parts if isinstance(part, Lines) for found in lines.each(part)] == [
        (1, b"1234"),
        (3, b"ab"),
    ]


FRAME = zstandard.compress(b"one\ntwo\n")
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"


@pytest.mark.parametrize(
    "packed",
    [FRAME + FRAME, SKIPPABLE + FRAME + SKIPPABLE + FRAME + SKIPPABLE, FRAME + zstandard.compress(b"") + FRAME],
)
def test_frames_that_follow_each_other_are_read_and_skippable_ones_skipped(tmp_path, packed):
    (tmp_path / "a.zst").write_bytes(packed)
    assert listed(tmp_path / "a.zst") == [(1, b"one"), (2, b"two"), (3, b"one"), (4, b"two")]


@pytest.mark.parametrize(
    "junk", [b"junk behind the frames", b"\0" * 40, b"\x28\xb5\x2f\xfd\xff", FRAME[:6], SKIPPABLE[:9]]
)
def test_what_follows_the_frames_and_is_none_is_told_with_the_last_good_line(tmp_path, junk):
    path = tmp_path / "a.zst"
    path.write_bytes(FRAME + junk)
    with pytest.raises(DumpError, match=r"a\.zst is cut short or damaged after line 2 \(.*\); fetch it again"):
        listed(path)


@pytest.mark.parametrize("level", [1, 19])
def test_a_file_cut_anywhere_is_told_and_every_line_before_the_cut_block_is_given(tmp_path, level):
    text = b"".join(
        json.dumps({"id": number, "noise": os.urandom(40).hex()}).encode() + b"\n" for number in range(4000)
    )
    packed = zstandard.ZstdCompressor(level=level).compress(text)
    path = tmp_path / "a.zst"
    for end in range(len(packed) - 1, 3, -len(packed) // 9):
        path.write_bytes(packed[:end])
        given, found = lines.read(path), []
        with pytest.raises(DumpError, match=r"is cut short or damaged (after line \d+|at its start)") as error:
            found.extend(line for part in given for line in lines.each(part))
        told = int(str(error.value).split("after line ")[1].split()[0]) if "after line" in str(error.value) else 0
        assert found == list(enumerate(text.splitlines(), start=1))[:told]


def test_a_text_that_ends_as_the_seal_does_loses_nothing(tmp_path):
    (tmp_path / "a.zst").write_bytes(zstandard.compress(b"x\n" + zst.SEAL))
    assert listed(tmp_path / "a.zst") == [(1, b"x"), (2, zst.SEAL)]
    assert b"\n" not in zst.SEAL_FRAME  # so that what it adds to a torn file ends no line


def test_a_bomb_is_read_block_by_block(tmp_path):
    # 256 MiB of one letter pack into a few kilobytes
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    (tmp_path / "a.zst").write_bytes(b"".join(packer.compress(b"x" * 2**24) for _ in range(16)) + packer.flush())
    (part,) = lines.read(tmp_path / "a.zst")
    assert part == OverlongLine(1, 2**28, b"x" * lines.HEAD)


def test_a_reader_that_is_left_early_leaves_no_thread(tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b"{}\n" * 10**6)
    before = set(threading.enumerate())
    reading = lines.read(tmp_path / "a.ndjson")
    next(reading)
    reading.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


@given(
    st.lists(st.sampled_from([FRAME, SKIPPABLE, zstandard.compress(b"x" * 999)]) | st.binary(max_size=30), min_size=1)
)
def test_whatever_a_compressed_file_holds_lines_or_a_dump_error_come_of_it(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("any") / "any.zst"
    path.write_bytes(b"".join(pieces))
    try:
        found = listed(path)
    except DumpError as error:
        assert str(path) in str(error)
    else:
        assert [number for number, _ in found] == list(range(1, len(found) + 1))
