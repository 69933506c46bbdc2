"""Files of DVC that a kill has cut are found, named and moved aside."""

from pathlib import Path

import pytest

from lima import dvc_files

LOCK = """schema: '2.0'
stages:
  a:
    cmd: cp in out
    deps:
    - path: in
      hash: md5
      md5: 401b30e3b8b5d629635a5c613cdb7919
      size: 2
"""
RWLOCK = '{"data/x": {"write": {"pid": 7, "cmd": "dvc repro"}}}'


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_files, "PAUSE", 0)
    dvc_files.RWLOCK.parent.mkdir(parents=True)


@pytest.mark.parametrize("lock", [LOCK, LOCK[: LOCK.index("    deps")]])
def test_valid_and_missing_files_stay(lock):
    dvc_files.check()
    dvc_files.LOCK.write_text(lock)
    dvc_files.RWLOCK.write_text(RWLOCK)
    dvc_files.check()
    assert dvc_files.repair() == []
    assert (dvc_files.LOCK.read_text(), dvc_files.RWLOCK.read_text()) == (lock, RWLOCK)


@pytest.mark.parametrize(
    ("path", "cut"),
    [
        *((dvc_files.LOCK, LOCK[: LOCK.index(end)]) for end in (" in\n      hash", ": 2", "'\nstages")),
        (dvc_files.RWLOCK, ""),
        (dvc_files.RWLOCK, RWLOCK[:20]),
    ],
)
def test_a_cut_file_is_an_error_with_the_fix_and_is_moved_aside(path, cut):
    path.write_text(cut)
    with pytest.raises(dvc_files.InvalidDvcFile, match=rf"killed: {path}; delete it; finished stages are restored"):
        dvc_files.check()
    assert dvc_files.repair() == [path]
    assert Path("work/invalid", path.name).read_text() == cut
    dvc_files.check()


def test_a_file_that_dvc_is_writing_is_read_again(monkeypatch):
    dvc_files.RWLOCK.write_text("")
    monkeypatch.setattr(dvc_files.time, "sleep", lambda _: dvc_files.RWLOCK.write_text(RWLOCK))
    dvc_files.check()
