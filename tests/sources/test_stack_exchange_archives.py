"""Archives: streaming, unpacking, and protection against damaged or malicious ones."""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import py7zr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lima.records import Candidate
from lima.sources.base import DumpError, Prefilter, ReadStats
from lima.sources.file_ranges import PackedBytes
from lima.sources.stack_exchange import reader
from lima.sources.stack_exchange.reader import archive as archives
from tests.sources.test_stack_exchange import answer, attributes, both, dump, packed, question

BZIP2 = [{"id": py7zr.FILTER_BZIP2}]
LZMA = [{"id": py7zr.FILTER_LZMA2, "preset": 1}]
SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from lima.sources.base import ReadStats
from lima.sources.stack_exchange import reader
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
list(reader.read(Path(sys.argv[1]), source="x", license="", tally=ReadStats()))
"""
USERS = "\n".join(["<users>", '<row Id="7" DisplayName="Ann" />', '<row Id="8" DisplayName="Bo" />', "</users>"])


def archive(path: Path, tables: dict[str, str], filters: list[dict[str, int]] = BZIP2) -> Path:
    path.parent.mkdir(exist_ok=True)
    with py7zr.SevenZipFile(path, "w", filters=filters) as seven:
        for name, text in tables.items():
            seven.writestr(text, name)
    return path


def posts_text(folder: Path, *rows: str) -> str:
    return dump(folder / "rows", *rows).read_text()


ORDERS = [("Badges.xml", "Posts.xml", "Users.xml", "Votes.xml"), ("Users.xml", "Votes.xml", "Posts.xml")]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("filters", [BZIP2, LZMA])
def test_posts_and_users_are_read_at_any_position(tmp_path, order, filters):
    text = posts_text(tmp_path, question(1), answer(2, 1, 5))
    tables = {"Posts.xml": text, "Users.xml": USERS}
    path = archive(tmp_path / "s.7z", {name: tables.get(name, "<x>\n" * 9999) for name in order}, filters)
    [candidate], dropped, _ = both(path)
    assert candidate.provenance.author == "Ann (question), Bo (answer)"
    assert dropped == []


def test_another_compression_is_decoded_with_a_warning(tmp_path, caplog):
    both(archive(tmp_path / "s.7z", {"Posts.xml": posts_text(tmp_path, question(1))}))
    assert caplog.text == ""
    both(archive(tmp_path / "s.7z", {"Posts.xml": posts_text(tmp_path, question(1))}, LZMA))
    assert "s.7z is compressed with LZMA2, not as one bzip2 stream; decoding it uses one core" in caplog.text


@pytest.mark.parametrize("filters", [BZIP2, LZMA])
def test_a_full_disk_is_not_reported_as_a_damaged_archive(tmp_path, filters):
    """A limit on file sizes simulates the full disk: the decoded tables do not fit."""
    rows = [question(number, Body="x" * 9000) for number in range(1, 60)]  # 540,000 bytes
    path = archive(tmp_path / "s.7z", {"Posts.xml": posts_text(tmp_path, *rows)}, filters)
    done = subprocess.run([sys.executable, "-c", SMALL_DISK, str(path)], capture_output=True, text=True)
    assert "damaged 7z archive" not in done.stderr
    assert done.stderr.splitlines()[-1].split(":")[0] in ("OSError", "lima.storage.DiskFull")
    assert "File too large" in done.stderr


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_errors_of_the_machine_are_not_reported_as_damage_but_those_of_the_decoder_are(number):
    with pytest.raises(OSError, match=os.strerror(number)), archives.report_damage(Path("s.7z")):
        raise OSError(number, os.strerror(number))
    for error in (OSError("bad block"), OSError(errno.EINVAL, "seek"), MemoryError(), EOFError()):
        with pytest.raises(DumpError, match=r"damaged 7z archive: s\.7z"), archives.report_damage(Path("s.7z")):
            raise error


def test_one_archive_per_table_is_one_site(tmp_path):
    folder = tmp_path / "dumps"
    archive(folder / "so.com-Posts.7z", {"Posts.xml": posts_text(tmp_path, question(1), answer(2, 1, 5))})
    archive(folder / "so.com-Users.7z", {"Users.xml": USERS})
    archive(folder / "so.com-Votes.7z", {"Votes.xml": "<votes>"})
    for dumps in (folder, folder / "so.com-Posts.7z"):
        [candidate], _, _ = both(dumps)
        assert candidate.provenance.author == "Ann (question), Bo (answer)"
        assert candidate.provenance.url == "https://so.com/a/2"
    [piece] = reader.pieces(folder)
    assert piece == (folder / "so.com-Posts.7z", (folder / "so.com-Users.7z",))


def test_archives_without_posts_are_an_error(tmp_path):
    archive(tmp_path / "dumps/so.com-Users.7z", {"Users.xml": USERS})
    with pytest.raises(DumpError, match=r"no archive in .* contains posts; add SITE-Posts\.7z or SITE\.7z"):
        both(tmp_path / "dumps")


def test_a_users_archive_without_its_table_is_an_error(tmp_path):
    archive(tmp_path / "d/s-Posts.7z", {"Posts.xml": posts_text(tmp_path, question(1))})
    archive(tmp_path / "d/s-Users.7z", {"Tags.xml": "<tags>"})
    with pytest.raises(DumpError, match=r"s-Users\.7z contains Tags\.xml … but no Users\.xml"):
        both(tmp_path / "d")


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 14), st.booleans()), max_size=12),
    st.integers(0, 3),
    st.permutations(range(18)),
)
def test_a_stream_gives_the_same_as_the_file(tmp_path_factory, answers, reservoir, order):
    """Also if the final reservoir differs from the reservoir at the time the answers were read."""
    folder = tmp_path_factory.mktemp("dump")
    rows = [question(n, **({"ClosedDate": "2020"} if n == 3 else {})) for n in range(6)]
    rows += [
        answer(100 + n, parent, score, Body="" if empty else f"b{n}")
        for n, (parent, score, empty) in enumerate(answers)
    ]
    rows = [rows[n] for n in order if n < len(rows)]
    path = dump(folder / "s", *rows)
    rule = Prefilter(
        min_response_score=10, reservoir=reservoir, shares=lambda _, numbers: np.array(numbers) * 37 % 10 / 10
    )

    def records_of(dumps: Path) -> list[str]:
        records = reader.read(dumps, source="se", license="", tally=ReadStats(), early=rule)
        return [record.model_dump_json().replace(str(dumps) + "/Posts.xml", str(path)) for record in records]

    assert records_of(packed(folder / "s.7z", path)) == records_of(path)


def test_an_archive_is_decoded_once_and_leaves_no_file(tmp_path, monkeypatch):
    path = archive(tmp_path / "in/s.7z", {"Users.xml": USERS, "Posts.xml": posts_text(tmp_path, question(1))})
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    decoded = []
    decoder = archives.IndexedBzip2File
    monkeypatch.setattr(archives, "IndexedBzip2File", lambda *a, **k: decoded.append(1) or decoder(*a, **k))
    records = reader.read(path, source="se", license="", tally=ReadStats())
    assert isinstance(next(records), Candidate)
    assert (len(decoded), list((tmp_path / "tmp").iterdir())) == (1, [])  # even while they are read
    records.close()


def test_a_checksum_mismatch_is_an_error(tmp_path, monkeypatch):
    path = archive(tmp_path / "s.7z", {"Posts.xml": posts_text(tmp_path, question(1))})
    crc32 = archives.zlib.crc32
    monkeypatch.setattr(archives.zlib, "crc32", lambda data, value: crc32(data.replace(b"b1", b"b2"), value))
    with pytest.raises(
        DumpError,
        match=r"checksum mismatch: Posts\.xml in .*s\.7z has \w{8} instead of \w{8}; download the archive again",
    ):
        both(path)


@pytest.mark.parametrize("filters", [BZIP2, LZMA], ids=["bzip2", "lzma"])
def test_tables_in_a_folder_of_the_archive_are_read(tmp_path, filters):
    tables = {"Posts.xml": posts_text(tmp_path, question(1), answer(2, 1, 5)), "Users.xml": USERS}
    archive(tmp_path / "root/s.7z", tables, filters)
    archive(tmp_path / "deep/s.7z", {f"a/s.com/{name}": text for name, text in tables.items()}, filters)
    [candidate], dropped, tally = both(tmp_path / "deep/s.7z")
    assert ([candidate], dropped, tally) == both(tmp_path / "root/s.7z")
    assert candidate.provenance.author.startswith("Ann")


def test_tables_at_the_root_take_precedence_over_those_in_folders(tmp_path):
    texts = {"old/Posts.xml": question(9), "Posts.xml": question(1)}
    archive(tmp_path / "in/s.7z", {name: posts_text(tmp_path, row) for name, row in texts.items()})
    assert [candidate.provenance.id for candidate in both(tmp_path / "in/s.7z")[0]] == ["1"]


def test_the_error_for_an_archive_of_several_sites_names_them_and_the_fix(tmp_path):
    text = posts_text(tmp_path, question(1))
    archive(tmp_path / "in/all.7z", {"beer/Posts.xml": text, "tea/Posts.xml": text}, BZIP2)
    with pytest.raises(
        DumpError, match=r"all\.7z contains 2 tables Posts\.xml: beer/Posts\.xml, tea/Posts\.xml …; unpack it"
    ):
        both(tmp_path / "in/all.7z")


def test_the_error_for_an_archive_of_archives_names_the_files_to_unpack(tmp_path):
    archive(tmp_path / "in/tea.com.7z", {"tea.com-Posts.7z": "7z", "tea.com-Users.7z": "7z"}, BZIP2)
    names = r"tea\.com-Posts\.7z, tea\.com-Users\.7z"
    with pytest.raises(
        DumpError, match=rf"contains other archives \({names} …\) and no Posts\.xml; .*7z x tea\.com\.7z"
    ):
        both(tmp_path / "in")


@pytest.mark.parametrize("name", ["../Posts.xml", "/Posts.xml", "a/../../Posts.xml", "..\\Posts.xml"])
def test_a_path_outside_of_the_folder_is_never_written(tmp_path, name):
    path = tmp_path / "in/s.7z"
    archive(path, {"Posts.xml": posts_text(tmp_path, question(1)), "Pages.xml": "x"}, LZMA)
    with py7zr.SevenZipFile(path, "w", filters=LZMA) as seven:
        seven.writestr("x", "Tags.xml")
        seven.header.files_info.files[0]["filename"] = name
        seven.files.files_list[0]["filename"] = name
    before = sorted(tmp_path.rglob("*"))
    with contextlib.suppress(DumpError):
        both(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_decompression_bomb_is_stopped_by_the_size_in_its_header(tmp_path, monkeypatch):
    """30 MB of zeros in an archive of a few dozen bytes are one overlong row, or exceed the disk."""
    big = tmp_path / "Posts.xml"
    big.write_bytes(bytes(30_000_000))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = packed(tmp_path / "bomb.7z", big)
    [(reason, place)] = both(path)[1]
    assert (reason, place) == ("bad_row", f"{path}/Posts.xml:1")
    monkeypatch.setattr(
        "lima.sources.stack_exchange.reader.archive.shutil.disk_usage",
        lambda folder: type("Use", (), {"free": 29_999_999}),
    )
    with pytest.raises(DumpError, match="up to 30000000 bytes needed, 29999999 free; set TMPDIR"):
        both(path)


def test_an_archive_made_by_7z_is_read(tmp_path):
    path = dump(
        tmp_path / "s", *(question(n) for n in range(0, 4000, 2)), *(answer(n + 1, n, 12) for n in range(0, 4000, 2))
    )
    made = tmp_path / "made.7z"
    if subprocess.run(["which", "7z"], capture_output=True).returncode:
        pytest.skip("7z is not installed")
    subprocess.run(["7z", "a", "-m0=bzip2", str(made), str(path)], check=True, capture_output=True)
    assert [c.response for c in both(made)[0]] == [c.response for c in both(path)[0]]


@given(st.binary(max_size=40), st.integers(0, 10), st.integers(0, 40), st.lists(st.integers(-5, 30), max_size=4))
def test_a_part_of_a_file_reads_like_a_file(tmp_path_factory, data, start, size, seeks):
    path = tmp_path_factory.mktemp("part") / "whole"
    path.write_bytes(data)
    part = data[start : start + size]
    with PackedBytes(path, start, size) as file:
        for place in seeks:
            file.seek(max(place, 0))
            assert file.read(7) == part[max(place, 0) :][:7]
        assert file.seek(-1, 2) == max(size - 1, 0)


def test_bad_users_are_reported(tmp_path):
    text = posts_text(tmp_path, question(1), attributes({"Id": 3, "PostTypeId": 5}))
    users = USERS.replace('Id="8"', 'Id="x"')
    path = archive(tmp_path / "s.7z", {"Posts.xml": text, "Users.xml": users})
    assert both(path)[1] == [("bad_user", f"{path}/Users.xml:3")]
