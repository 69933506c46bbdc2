from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.sources.shards import Partition, partitions

SIZES = st.lists(st.integers(min_value=0, max_value=30), min_size=1, max_size=12)


def pages(folder: Path, sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        (folder / f"{number:02}.html").write_bytes(b"x" * size)


@given(sizes=SIZES, enough=st.integers(min_value=1, max_value=60))
def test_small_pieces_make_up_parts_in_their_order_none_larger_than_needed(tmp_path_factory, sizes, enough):
    folder = tmp_path_factory.mktemp("pages")
    pages(folder, sizes)
    found = partitions("wikihow", folder, enough=enough)
    assert [piece for part in found for (piece,) in part.pieces] == [f"{folder}/{n:02}.html" for n in range(len(sizes))]
    assert sum(part.size for part in found) == sum(sizes)
    assert len({part.name for part in found}) == len(found)
    for part in found[:-1]:
        assert part.size >= enough
    for part in found:  # without its last piece it would not be enough
        assert part.size - Path(part.pieces[-1][0]).stat().st_size < enough


def test_a_part_is_named_by_its_first_and_last_piece(tmp_path):
    pages(tmp_path, [4, 4, 4])
    assert [part.name for part in partitions("wikihow", tmp_path, enough=8)] == ["00.html … 01.html", "02.html"]


def test_a_site_is_a_part_however_small_with_the_names_of_its_users(tmp_path):
    for site in ("beer", "tea"):
        (tmp_path / site).mkdir()
        (tmp_path / site / "Posts.xml").write_bytes(b"12345")
    (tmp_path / "tea/Users.xml").write_bytes(b"123")
    assert partitions("stack_exchange", tmp_path, enough=10**9) == [
        Partition(name="beer/Posts.xml", pieces=((f"{tmp_path}/beer/Posts.xml",),), size=5),
        Partition(name="tea/Posts.xml", pieces=((f"{tmp_path}/tea/Posts.xml", f"{tmp_path}/tea/Users.xml"),), size=8),
    ]


@pytest.mark.parametrize("reader", ["reddit", "authored"])
def test_what_must_be_joined_is_one_part_whatever_its_size(tmp_path, reader):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(b"12345")
    (part,) = partitions(reader, tmp_path, enough=1)
    assert part.pieces == ((str(tmp_path), f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"),)
    assert (part.name, part.size) == (tmp_path.name, 10)


def test_a_single_file_is_a_part_named_by_itself(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"12345")
    (part,) = partitions("authored", tmp_path / "a.jsonl", enough=1)
    assert (part.name, part.size) == ("a.jsonl", 5)
