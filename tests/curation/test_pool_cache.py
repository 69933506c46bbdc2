from pathlib import Path

import pytest

from lima import storage
from lima.curation import pool_cache
from lima.curation.decontamination import Rejection
from lima.records import Dropped

DROPPED = Rejection(position=3, dropped=Dropped(reason="same_prompt", detail="as a", place="b", raw=""))


@pytest.fixture
def computed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pool.jsonl").write_text("{}\n")
    return []


def cached(computed, **changed):
    def compute():
        computed.append(changed)
        return iter([DROPPED])

    arguments = {"settings": ["a", "b"], "texts": ["test"], "files": [Path("pool.jsonl")]} | changed
    assert pool_cache.rejections(compute, **arguments) == [DROPPED]


def test_same_inputs_are_computed_once(computed):
    cached(computed)
    cached(computed)
    assert len(computed) == 1


@pytest.mark.parametrize("changed", [{"settings": ["ab"]}, {"texts": ["tes", "t"]}, {"files": []}])
def test_other_inputs_are_computed_again(computed, changed):
    cached(computed)
    cached(computed, **changed)
    assert computed == [{}, changed]


def test_changed_content_and_changed_code_are_computed_again(computed, monkeypatch):
    cached(computed)
    Path("pool.jsonl").write_text("{} \n")
    cached(computed)
    monkeypatch.setattr(pool_cache, "version", lambda package: "0")
    cached(computed)
    assert len(computed) == 3


def test_an_interrupted_computation_leaves_no_entry_and_old_entries_are_removed(computed, monkeypatch):
    with pytest.raises(ZeroDivisionError):
        pool_cache.rejections(lambda: (1 // 0 for _ in "a"), settings=[], texts=[], files=[])
    monkeypatch.setattr(pool_cache, "MOST_ENTRIES", 2)
    for name in "abc":
        cached(computed, settings=[name])
    assert len(list(storage.kept_dir("mix", "pool").iterdir())) == 2
