import errno
import os

import pytest

from lima import paths


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_result_is_there_whole_when_the_block_ends():
    with paths.publish("mix", "lima") as folder:
        (folder / "train.jsonl").write_text("new")
        assert not paths.result("mix", "lima").exists()
    assert [path.name for path in paths.result("mix", "lima").iterdir()] == ["train.jsonl"]
    assert not folder.exists()


def test_an_error_leaves_the_older_result_as_it_was():
    with paths.publish("mix", "lima") as folder:
        (folder / "train.jsonl").write_text("old")
    with pytest.raises(KeyboardInterrupt), paths.publish("mix", "lima") as folder:
        (folder / "train.jsonl").write_text("half")
        raise KeyboardInterrupt
    assert (paths.result("mix", "lima") / "train.jsonl").read_text() == "old"
    assert (folder / "train.jsonl").read_text() == "half"  # to look into


def test_a_result_holds_nothing_of_an_older_or_a_broken_run():
    for name in ("older", "newer"):
        (paths.WORK / "mix/lima").mkdir(parents=True, exist_ok=True)
        (paths.WORK / "mix/lima/left-over").write_text("of a kill")
        with paths.publish("mix", "lima") as folder:
            (folder / name).touch()
    assert [path.name for path in paths.result("mix", "lima").iterdir()] == ["newer"]


def test_a_kill_between_the_two_moves_leaves_the_older_result_to_the_next_start():
    with paths.publish("mix", "lima") as folder:
        (folder / "train.jsonl").write_text("old")
    paths.result("mix", "lima").rename(paths.WORK / "mix/lima.older")  # where a kill found it
    with pytest.raises(KeyboardInterrupt), paths.publish("mix", "lima"):
        raise KeyboardInterrupt
    assert (paths.result("mix", "lima") / "train.jsonl").read_text() == "old"
    assert not (paths.WORK / "mix/lima.older").exists()


def test_a_disk_without_room_is_told_and_any_other_fault_of_it_stays_as_it_is():
    told = r"work/mix/lima: No space left on device, with [\d,]+ bytes free;"
    with pytest.raises(paths.DiskFull, match=told), paths.publish("mix", "lima"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(PermissionError), paths.publish("mix", "lima"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
