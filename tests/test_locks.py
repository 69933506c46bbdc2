import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lima import locks, storage

ROOT = Path(__file__).parents[1]
LOCK = Path("work/locks/train@lima.lock")


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@contextmanager
def holding(*words):
    """A process that holds the lock of `words`, a stage and a key, in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("holding.py")), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_second_process_is_refused_at_once_and_told_who_holds_the_folder():
    with holding("train", "lima") as first:
        with pytest.raises(locks.FolderInUse) as refused, storage.publish("train", "lima"):
            raise AssertionError("two processes work in one folder")
        told = str(refused.value)
        assert told.startswith(f"work/train/lima is in use by process {first.pid} since 20")
        assert f"holding.py train lima); wait until it ends, or end it with `kill {first.pid}` " in told
        assert json.loads(LOCK.read_text())["pid"] == first.pid
        with storage.exclusive("train", "other"):
            pass  # another folder is free
    assert not Path("work/train").exists()


def test_a_holder_on_another_machine_is_named_with_it_and_a_long_command_is_cut():
    folder = Path("work/train/lima")
    holder = locks.Holder(pid=7, host="elsewhere", command="x" * 201, since="2026-01-02 03:04:05")
    assert locks._refusal(folder, holder.model_dump_json().encode()).startswith(
        f"work/train/lima is in use by process 7 on elsewhere since 2026-01-02 03:04:05 ({'x' * 200}); "
        "wait until it ends, or end it with `kill 7` on elsewhere "
    )


def test_kill_9_of_the_holder_frees_the_folder():
    with holding("train", "lima") as first:
        first.kill()
        first.wait()
        assert LOCK.exists()  # as a kill leaves it
        with storage.exclusive("train", "lima"):
            assert json.loads(LOCK.read_text())["pid"] == os.getpid()
    assert not LOCK.exists()


@pytest.mark.parametrize("child", ["fork", "exec"])
def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(child):
    with holding("train", "lima", child) as first:
        first.kill()
        first.wait()
        os.killpg(first.pid, 0)  # the child is alive
        with storage.exclusive("train", "lima"):
            pass


def test_the_lock_is_taken_again_within_a_process_and_held_to_the_end_of_the_outer_block():
    with storage.exclusive("train", "lima"):
        with storage.publish("train", "lima"):
            pass
        assert LOCK.exists()
    assert not LOCK.exists()


def test_of_ranks_that_a_launcher_starts_together_the_first_holds_the_lock(monkeypatch):
    seen = []

    @storage.alone("train")
    def main(arm):
        seen.append(LOCK.exists())

    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        main("lima")
    assert seen == [True, False]
    with holding("train", "lima"):
        main("lima")
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(locks.FolderInUse):
            main("lima")


def test_a_key_cannot_lead_out_of_the_folder_of_locks():
    with storage.exclusive("train", "../../../victim"):
        assert [path.name for path in Path().rglob("*.lock")] == ["train@..%2F..%2F..%2Fvictim.lock"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_warning(number, monkeypatch, capsys):
    def refusing(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refusing)
    with storage.publish("mix", "lima") as folder:
        (folder / "file").touch()
    assert storage.result_dir("mix", "lima").exists()
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and said.count("\n") == 1
    assert f"train@lima.lock ({os.strerror(number)})".replace("train", "mix") in said


def test_a_lock_file_that_its_holder_removes_meanwhile_is_no_lock(monkeypatch):
    """The holder ends between our opening of the file and our locking it: the file has no name any more."""
    flock, removed = fcntl.flock, []

    def late(descriptor, operation):
        if not removed:
            removed.append(LOCK.unlink())
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with storage.exclusive("train", "lima"):
        assert removed and LOCK.exists()
