import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lima import storage


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_result_is_there_whole_when_the_block_ends():
    with storage.publish("mix", "lima") as folder:
        (folder / "train.jsonl").write_text("new")
        assert not storage.result_dir("mix", "lima").exists()
    assert [path.name for path in storage.result_dir("mix", "lima").iterdir()] == ["train.jsonl"]
    assert not folder.exists()


def test_an_error_leaves_the_older_result_as_it_was():
    with storage.publish("mix", "lima") as folder:
        (folder / "train.jsonl").write_text("old")
    with pytest.raises(KeyboardInterrupt), storage.publish("mix", "lima") as folder:
        (folder / "train.jsonl").write_text("half")
        raise KeyboardInterrupt
    assert (storage.result_dir("mix", "lima") / "train.jsonl").read_text() == "old"
    assert (folder / "train.jsonl").read_text() == "half"  # to look into


def test_a_result_holds_nothing_of_an_older_or_a_broken_run():
    for name in ("older", "newer"):
        (storage.WORK / "mix/lima").mkdir(parents=True, exist_ok=True)
        (storage.WORK / "mix/lima/left-over").write_text("of a kill")
        with storage.publish("mix", "lima") as folder:
            (folder / name).touch()
    assert [path.name for path in storage.result_dir("mix", "lima").iterdir()] == ["newer"]


def files(folder):
    """Names and contents of what a result holds."""
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else {}


def write(name, content="x"):
    with storage.publish("mix", "lima") as folder:
        (folder / "card").mkdir()
        (folder / "card" / "page").write_text(content)
        (folder / name).write_text(content)


def read():
    """The names and contents at the result's root; the files below are as many as they should be."""
    place = storage.result_dir("mix", "lima")
    assert [path.name for path in place.rglob("page")] == ["page"]
    return {path.name: path.read_text() for path in place.iterdir() if path.is_file()}


def left_over():
    """Paths that are neither a result nor below work/."""
    return [path for path in Path().rglob("*") if ".publish" in path.parts]


def elsewhere(monkeypatch):
    """work/ and data/ act as two file systems: no rename and no hard link leads from one into the other."""

    def same(call):
        def checked(source, target, **rest):
            if Path(source).resolve().relative_to(Path().resolve()).parts[0] == "work":
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
            return call(source, target, **rest)

        return checked

    monkeypatch.setattr(os, "rename", same(os.rename))
    monkeypatch.setattr(os, "link", same(os.link))


def test_data_may_lie_on_another_file_system_than_work(monkeypatch):
    elsewhere(monkeypatch)
    for name in ("old", "new"):
        write(name)
        assert read() == {name: "x"}
    assert not left_over()
    assert not (storage.WORK / "mix/lima").exists()


@pytest.mark.parametrize("top", ["data", "data/mix", "work"])
def test_a_folder_on_a_real_other_file_system(top):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == Path().stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as other:
        Path(top).parent.mkdir(exist_ok=True)
        Path(top).symlink_to(other)
        for name in ("old", "new"):
            write(name)
            assert read() == {name: "x"}
        assert Path(top).is_symlink() and not left_over()


@pytest.mark.parametrize("options", [[], ["-t", "tmpfs", "none"]])
def test_a_result_that_is_itself_a_mount_point_is_refused_with_the_way_out(options, tmp_path):
    place = storage.result_dir("mix", "lima").absolute()
    place.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    words = ["mount", *(options or ["--bind", str(tmp_path / "other")]), str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(storage.MountPoint, match=r"data/mix/lima is a mount point.*mount data/mix instead"):
            write("new")
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert not left_over()


def test_a_folder_that_an_overlay_cannot_rename_is_replaced_too(monkeypatch):
    """Of an overlay file system, a folder of a lower layer: EXDEV, wherever it is to go."""
    write("old")
    place = storage.result_dir("mix", "lima")
    rename = Path.rename

    def refusing(source, target):
        if source == place and (place / "old").exists():
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refusing)
    write("new")
    assert read() == {"new": "x"} and not left_over()


STEPS = ["link", "fsync", "rename 1", "rename 2", "rmtree 1", "rmtree 2"]


def killed_at(step, name):
    """Publish in a forked process that dies, as by kill -9, when it is about to take a step for the n-th time."""
    call, number = (*step.split(), "1")[:2]
    left = [int(number)]

    def dying(function):
        def counted(*words, **rest):
            if ".publish" in " ".join(map(str, words)) or call == "fsync":
                left[0] -= 1
                if not left[0]:
                    os._exit(9)
            return function(*words, **rest)

        return counted

    if not (process := os.fork()):
        owner = shutil if call == "rmtree" else os
        setattr(owner, call, dying(getattr(owner, call)))
        write(name, "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_the_old_or_the_new_result(step):
    write("file", "old")
    assert killed_at(step, "file") == 9
    storage.restore(storage.result_dir("mix", "lima"))  # what the next start does first
    assert read()["file"] in ("old", "new")
    assert not left_over()
    write("file", "newer")
    assert read() == {"file": "newer"}


def test_the_steps_of_a_kill_are_those_that_there_are():
    """A publication has no third rename, so the test above stops at each."""
    write("file", "old")
    assert killed_at("rename 3", "file") == 0


def test_the_folder_is_synced_last_so_that_the_new_name_outlives_a_power_failure(monkeypatch):
    synced, fsync = [], os.fsync

    def recording(descriptor):
        synced.append((os.fstat(descriptor).st_ino, storage.result_dir("mix", "lima").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    write("file", "new")
    assert synced[-1] == (storage.result_dir("mix", "lima").parent.stat().st_ino, True)


def test_a_kill_between_the_two_renames_leaves_the_older_result_to_the_next_start():
    write("file", "old")
    assert killed_at("rename 2", "file") == 9
    assert not storage.result_dir("mix", "lima").exists()
    with pytest.raises(KeyboardInterrupt), storage.publish("mix", "lima"):
        raise KeyboardInterrupt
    assert read() == {"file": "old"}
    assert not left_over()


def test_an_older_result_is_moved_back_if_there_is_no_other():
    older = storage.DATA / "mix" / storage.STAGING / "lima" / "older"
    older.mkdir(parents=True)
    (older / "a.txt").write_text("old")
    storage.restore(storage.result_dir("mix", "lima"))
    assert (storage.result_dir("mix", "lima") / "a.txt").read_text() == "old"


@pytest.mark.parametrize("step", ["fsync", "mkdir"])
def test_a_full_disk_while_publishing_leaves_the_older_result_and_the_work(step, monkeypatch):
    write("file", "old")
    call = getattr(os, step)

    def full(*words, **rest):
        if step == "fsync" or ".publish" in str(words[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*words, **rest)

    told = "data/mix: No space left on device"
    with (
        monkeypatch.context() as patched,
        pytest.raises(storage.DiskFull, match=told),
        storage.publish("mix", "lima") as folder,
    ):
        (folder / "file").write_text("new")
        patched.setattr(os, step, full)
    assert read() == {"file": "old"}
    assert files(storage.WORK / "mix/lima") == {"file": "new"}
    assert not left_over()


def test_a_full_disk_while_copying_is_seen_as_such(monkeypatch):
    elsewhere(monkeypatch)
    write("file", "old")

    def full(*words, **rest):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(storage.DiskFull, match="data/mix: No space left on device"):
        write("file", "new")
    assert read() == {"file": "old"}
    assert files(storage.WORK / "mix/lima/card") == {"page": "new"}
    assert not left_over()


def test_dvc_does_not_see_what_a_kill_left_beside_a_result(clone, monkeypatch):
    """A dependency on data/mix as a whole has the same digest with and without the leftover."""
    from dvc.repo import Repo

    monkeypatch.chdir(clone)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "-f"], check=True)
    write("file", "old")
    storage.publish_folder(storage.result_dir("mix", "lima"), storage.result_dir("prompts"))

    def digest(folder):
        from dvc_data.hashfile.build import build

        with Repo() as repo:
            path = str(Path(folder).absolute())
            return build(repo.cache.local, path, repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)[2].hash_info

    before = [digest("data/mix"), digest("data/prompts")]
    assert killed_at("rename 1", "file") == 9
    assert left_over()
    assert [digest("data/mix"), digest("data/prompts")] == before
    shutil.rmtree(storage.DATA)


def test_a_disk_without_room_is_told_and_any_other_fault_of_it_stays_as_it_is():
    told = r"work/mix/lima: No space left on device, with [\d,]+ bytes free;"
    with pytest.raises(storage.DiskFull, match=told), storage.publish("mix", "lima"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(PermissionError), storage.publish("mix", "lima"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
