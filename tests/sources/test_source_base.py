"""Which files of a dump are read."""

import pytest

from lima.sources.base import DumpError, files


def names(folder):
    return [str(path.relative_to(folder)) for path in files(folder, (".xml",))]


def test_files_are_read_in_the_order_of_their_paths_whatever_case_their_endings_have(tmp_path):
    for name in ("b/Posts.XML", "a/Posts.xml", "a/notes.txt", "c.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a/Posts.xml", "b/Posts.XML", "c.xml"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    for name in (".cache/Posts.xml", ".Posts.xml", "Posts.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["Posts.xml"]


def test_a_link_to_a_folder_on_another_disk_is_followed(tmp_path):
    other, dumps = tmp_path / "other", tmp_path / "dumps"
    other.mkdir()
    dumps.mkdir()
    (other / "Posts.xml").touch()
    (dumps / "beer").symlink_to(other)
    assert names(dumps) == ["beer/Posts.xml"]


def test_a_link_into_its_own_way_is_passed(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "Posts.xml").touch()
    (tmp_path / "site" / "up").symlink_to(tmp_path)
    (tmp_path / "site" / "here").symlink_to(tmp_path / "site")
    assert names(tmp_path) == ["site/Posts.xml"]


def test_a_broken_link_is_an_error(tmp_path):
    (tmp_path / "Posts.xml").symlink_to(tmp_path / "gone")
    with pytest.raises(DumpError, match=r"Posts\.xml is a link to .*gone, which is not there; correct"):
        names(tmp_path)


def test_a_folder_without_such_files_is_told(tmp_path):
    with pytest.raises(DumpError, match=r"holds no file named \*\.xml"):
        names(tmp_path)
