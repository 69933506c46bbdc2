"""Scraping in parts: killed, out of room, with some that cannot be read, by many workers; the result is the same."""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stages.generated_sites import DUMPS, KEPT, OUT, SOURCE, checkout, finish, hold, kept, result, scrape, stats

from lima.stages import scrape as stage

SITES = 10


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    """What one process that nobody disturbs makes of the sites."""
    folder = tmp_path_factory.mktemp("undisturbed")
    checkout(folder, sites=SITES, kilobytes=100, workers=1)
    status, out, err = finish(scrape(folder))
    assert status == 0, err
    assert out.startswith(f"{SOURCE}: ") and out.endswith(f" candidates, {SITES} bad rows\n")
    assert not (folder / KEPT).exists()  # once the result is there, nothing is kept beside it
    return result(folder)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def until_kept(folder: Path, process: subprocess.Popen[str], parts: int) -> None:
    while len(kept(folder)) < parts:
        assert process.poll() is None, f"ended before {parts} parts were kept: {finish(process)}"
        time.sleep(0.001)


def test_the_result_is_the_same_bytes_whatever_the_number_of_workers(tmp_path, undisturbed):
    checkout(tmp_path, sites=SITES, kilobytes=100, workers=3)
    assert finish(scrape(tmp_path))[0] == 0
    assert result(tmp_path) == undisturbed


def test_killed_twice_it_reads_only_what_was_not_finished_and_the_result_is_the_same_bytes(tmp_path, undisturbed):
    checkout(tmp_path, sites=SITES, kilobytes=100, workers=2)
    hold(tmp_path, 2)
    first = scrape(tmp_path)
    until_kept(tmp_path, first, 2)
    first.kill()  # its workers end by themselves
    first.communicate()
    after_first = kept(tmp_path)
    assert 2 <= len(after_first) < SITES
    hold(tmp_path, len(after_first) + 2)
    second = scrape(tmp_path)
    until_kept(tmp_path, second, len(after_first) + 2)
    os.killpg(second.pid, signal.SIGKILL)  # all of them at once
    second.communicate()
    after_second = kept(tmp_path)
    assert after_first.items() <= after_second.items()  # not written again
    assert len(after_first) + 2 <= len(after_second) < SITES
    assert not (tmp_path / OUT).exists()
    tmp_path.joinpath("hold").unlink()
    status, _, err = finish(scrape(tmp_path))
    assert status == 0, err
    assert f"{SOURCE}: {len(after_second)} of {SITES} parts were cached by an interrupted run" in err
    assert result(tmp_path) == undisturbed
    assert not (tmp_path / KEPT).exists()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("begun", [False, True])
def test_ctrl_c_leaves_no_temporary_folder_and_no_traceback(tmp_path, workers, begun):
    """A terminal sends SIGINT to the whole process group, workers included."""
    checkout(tmp_path, sites=SITES, kilobytes=100, workers=workers)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    hold(tmp_path, SITES // 2)
    process = scrape(tmp_path, env={"TMPDIR": str(temporary)})
    until = time.monotonic() + 300
    while not (any(temporary.rglob("lima-*")) or kept(tmp_path)):  # the first part, or the workers, have begun
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.001)
    time.sleep(0.01)  # between making a folder and noting it, Python has nothing to clean up by
    if begun:
        until_kept(tmp_path, process, 2)
    os.killpg(process.pid, signal.SIGINT)
    status, _, err = finish(process)
    assert status == 130
    assert err.splitlines()[-1] == "interrupted; the previous result is unchanged"
    assert "Traceback" not in err
    assert not list(temporary.iterdir())
    assert not list((tmp_path / KEPT).glob("*.unfinished"))
    assert len(kept(tmp_path)) >= 2 * begun


def test_a_killed_workers_part_is_read_again_and_the_result_is_the_same_bytes(tmp_path, undisturbed):
    checkout(tmp_path, sites=SITES, kilobytes=100, workers=2)
    hold(tmp_path, 4)
    process = scrape(tmp_path)
    until_kept(tmp_path, process, 2)
    before = kept(tmp_path)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    until_kept(tmp_path, process, 4)
    assert before.items() <= kept(tmp_path).items()
    tmp_path.joinpath("hold").unlink()
    status, _, err = finish(process)
    assert status == 0, err
    assert err.count("is retried: its worker was killed by SIGKILL") == 1
    assert result(tmp_path) == undisturbed


@pytest.fixture
def sites(tmp_path, monkeypatch) -> Path:
    """A checkout for this process, with six small sites; without the start of other workers."""
    checkout(tmp_path, sites=6, kilobytes=300, workers=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def test_parts_that_cannot_be_read_are_all_named_after_the_others_are_finished_and_kept(sites, capsys):
    mended = (sites / DUMPS / "site03.example/Posts.xml").read_text()
    for broken in (1, 3):
        (sites / DUMPS / f"site0{broken}.example/Posts.xml").write_text("<posts>\n</posts>\n")
    with pytest.raises(stage.ScrapeError) as error:
        stage.main(SOURCE)
    assert str(error.value).splitlines() == [
        "2 of 6 parts cannot be read:",
        f"  site01.example/Posts.xml: no posts in {DUMPS}/site01.example/Posts.xml; "
        "download the dump again or remove it from the dumps",
        f"  site03.example/Posts.xml: no posts in {DUMPS}/site03.example/Posts.xml; "
        "download the dump again or remove it from the dumps",
        "the other 4 are cached and not read again",
    ]
    before = kept(sites)
    assert len(before) == 4 and not (sites / OUT).exists()
    (sites / DUMPS / "site01.example/Posts.xml").unlink()
    (sites / DUMPS / "site03.example/Posts.xml").write_text(mended)
    capsys.readouterr()
    stage.main(SOURCE)
    assert f"{SOURCE}: 4 of 5 parts were cached by an interrupted run" in capsys.readouterr().err
    assert stats(sites)["dropped"]["bad_row"] == 5


def test_what_is_kept_of_a_dump_that_was_changed_meanwhile_is_not_used(sites, capsys):
    broken, changed = (sites / DUMPS / f"site0{number}.example/Posts.xml" for number in (1, 2))
    whole = broken.read_text()
    broken.write_text("")
    with pytest.raises(stage.ScrapeError, match="1 of 6 parts"):
        stage.main(SOURCE)
    broken.write_text(whole)
    then = changed.stat()
    changed.write_text(changed.read_text().replace("the needle stands", "the needle rests "))
    os.utime(changed, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert changed.stat().st_size == then.st_size
    stage.main(SOURCE)
    assert f"{SOURCE}: 4 of 6 parts were cached by an interrupted run" in capsys.readouterr().err
    assert (sites / OUT / "candidates.jsonl").read_text().count("the needle rests ") > 0


def test_a_full_disk_is_told_with_its_place_and_the_older_result_stays(sites):
    stage.main(SOURCE)
    older = result(sites)
    site = sites / DUMPS / "site05.example/Posts.xml"
    site.write_text(site.read_text().replace("needle", "hand"))

    def limit() -> None:  # every part is larger
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    status, _, err = finish(scrape(sites, preexec_fn=limit))
    assert status == 1
    assert err.startswith("error: 6 of 6 parts cannot be read:")
    assert err.count(f"{KEPT}: File too large, with ") == 6
    assert "mount a larger disk at data/, link work/ to it and set TMPDIR to a folder on it; then run again" in err
    assert result(sites) == older
    assert list((sites / KEPT).iterdir()) == []


def test_a_disk_that_is_full_only_when_the_parts_are_joined_is_told_and_the_parts_stay(sites):
    largest = 0
    stage.main(SOURCE)
    older = result(sites)
    for name, content in older.items():
        largest = max(largest, len(content)) if name == "candidates.jsonl" else largest

    def limit() -> None:  # every part fits, all of them together do not
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, largest // 2))

    status, _, err = finish(scrape(sites, preexec_fn=limit))
    assert status == 1
    assert err.startswith(f"error: work/scrape/{SOURCE}: File too large, with ")
    assert result(sites) == older
    assert len(kept(sites)) == 6
