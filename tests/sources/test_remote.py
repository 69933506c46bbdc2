"""Dumps at addresses: read as a stream, the same records as from local files, and errors that name the address."""

import functools
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from typer.testing import CliRunner

from lima import cli, config, jsonl, reader_names
from lima.records import Candidate
from lima.sources import registry, remote, shards
from lima.sources.base import DumpError, ReadStats
from lima.stages import scrape

ROOT = Path(__file__).parents[2]
ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"A number, {n}."}]}
    for n in range(400)
]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with ranges. /torn… announces the whole file and sends half of it."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        self.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if not path.is_file():
            return super().do_GET()
        body = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(wanted[1]), int(wanted[2] or len(body) - 1) + 1) if wanted else (0, len(body))
        part = body[start:stop]
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hash(body)}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if path.name.startswith("torn") and stop - start > 100:
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(part)

    def end_headers(self) -> None:
        if self.command == "HEAD":
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """The address of a server of tmp_path / "served"."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Files, directory=str(folder))
    Files.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def write(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        path.write_bytes(zstandard.compress(LINES) if name.endswith(".zst") else LINES)
    return path


def read(name: str, reader: str = "chat") -> list[Candidate]:
    dumps = remote.location(name)
    found = []
    for part in shards.partitions(reader, dumps, enough=10**6):
        for dump, *_ in part.pieces:
            records = registry.reader(reader, root=dumps)(
                remote.location(dump), source="s", license="MIT", tally=ReadStats()
            )
            found += [record for record in records if isinstance(record, Candidate)]
    return found


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.zst", "rows.parquet"])
def test_a_file_on_a_server_has_the_records_of_the_local_one(server, tmp_path, name):
    local = write(tmp_path / "served", name)
    assert read(f"{server}/{name}") == read(str(local))
    assert len(read(str(local))) == len(ROWS)


def test_a_file_url_is_a_local_path(tmp_path):
    (tmp_path / "served").mkdir()
    local = write(tmp_path / "served", "rows.jsonl")
    assert remote.location(f"file://{local}") == local
    assert read(f"file://{local}") == read(str(local))


def test_a_folder_of_an_object_store_has_the_records_of_the_local_one(tmp_path):
    (tmp_path / "served").mkdir()
    memory = fsspec.filesystem("memory")
    for name in ("a.jsonl", "b.jsonl.zst"):
        memory.pipe(f"/dumps/{name}", write(tmp_path / "served", name).read_bytes())
    assert read("memory://dumps") == read(str(tmp_path / "served"))
    memory.rm("/dumps", recursive=True)


def test_rows_are_yielded_before_the_whole_file_is_received(server, tmp_path):
    big = tmp_path / "served/rows.jsonl"
    big.write_bytes(LINES * 600)  # 28 MB; fsspec asks for 5 MiB at a time
    records = registry.reader("chat", root=remote.location(f"{server}/rows.jsonl"))(
        remote.location(f"{server}/rows.jsonl"), source="s", license="MIT", tally=ReadStats()
    )
    assert isinstance(next(records), Candidate)
    starts = [int(match[1]) for asked in Files.asked if (match := re.search(r"bytes=(\d+)-", asked))]
    assert max(starts) < big.stat().st_size / 2
    records.close()


def test_a_missing_file_is_an_error_with_its_address(server):
    with pytest.raises(DumpError, match=f"there is no {server}/rows.jsonl; put the dump there, or correct the path"):
        read(f"{server}/rows.jsonl")


def test_a_server_that_does_not_answer_is_an_error_with_its_address():
    with pytest.raises(
        DumpError, match=r"cannot read http://127\.0\.0\.1:9/rows\.jsonl: .*; check the address and the"
    ):
        read("http://127.0.0.1:9/rows.jsonl")


def test_a_file_that_ends_early_is_an_error_with_its_address(server, tmp_path):
    write(tmp_path / "served", "torn.jsonl")
    with pytest.raises(DumpError, match=rf"cannot read {server}/torn\.jsonl: "):
        read(f"{server}/torn.jsonl")


def test_the_version_changes_with_the_file_and_only_then(server, tmp_path):
    path = write(tmp_path / "served", "rows.jsonl")
    address = f"{server}/rows.jsonl"
    first = remote.version(remote.location(address))
    assert remote.version(remote.location(address)) == first != ""
    path.write_bytes(LINES + LINES)
    assert remote.version(remote.location(address)) != first


def test_an_archive_is_not_streamed():
    with pytest.raises(
        DumpError, match=r"the reader stack_exchange needs a local copy of memory://dumps/a\.7z; download"
    ):
        shards.partitions("stack_exchange", remote.location("memory://dumps/a.7z"), enough=1)


def test_inspect_takes_an_address(server, tmp_path):
    write(tmp_path / "served", "rows.jsonl")
    shown = CliRunner().invoke(cli.app, ["inspect", f"{server}/rows.jsonl", "--json"])
    assert json.loads(shown.stdout)["candidates"] == len(ROWS)


def test_scrape_reads_an_address_and_reuses_what_an_interrupted_run_read(server, tmp_path, monkeypatch):
    write(tmp_path / "served", "rows.jsonl")
    monkeypatch.chdir(tmp_path)
    params = (ROOT / "params.yaml").read_text()
    entry = "  wikihow: {reader: wikihow, dumps: corpus/dumps/wikihow, license: CC BY-SA 4.0}"
    assert entry in params
    changed = f'  wikihow: {{reader: chat, dumps: "{server}/rows.jsonl", license: MIT}}'
    Path("params.yaml").write_text(params.replace(entry, changed))
    (job,) = scrape.plan("wikihow", config.load())
    scrape.part(job.model_dump_json())
    Files.asked.clear()
    scrape.main("wikihow")
    assert not [asked for asked in Files.asked if "bytes=" in asked]  # its size and version alone are asked for
    found = jsonl.read(Path("data/scrape/wikihow/candidates.jsonl"), Candidate)
    assert [candidate.title for candidate in found] == [f"What is {n}?" for n in range(400)]


def test_the_readers_that_stream_exist():
    assert set(reader_names.BUILT_IN) >= remote.STREAMED
