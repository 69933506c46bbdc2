"""A source that another package provides through the entry-point group `lima.sources`; lima/ is not changed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import config, jsonl, reader_names
from lima.config import ParamsError
from lima.records import Candidate, Dropped, Example, Funnel
from lima.sources import registry
from lima.sources.base import DumpError
from lima.sources.shards import partitions

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
READ, DECIDE = re.findall(r"^```python\n(.*?)^```", TUTORIAL, re.M | re.S)
READER = f"{READ}\n\ndef recognizes(path):\n    return path.suffix == '.post'\n"
[ENTRY_POINT] = re.findall(r"""^usenet = "(.+)"$""", TUTORIAL, re.M)
POSTS = {
    "a": "How do I oil a hinge?\n\nPut one drop on the pin, and open and close the door until it is quiet.",
    "b": "How do I dry herbs?\n\nSlowly.",
    "c": "A subject and nothing else",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a reader, as importlib.metadata finds it, and a dump."""
    site = tmp_path / "site"
    info = site / "usenet_posts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: usenet-posts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lima.sources]\nusenet = {ENTRY_POINT}\n")
    (site / "usenet_posts").mkdir()
    (site / "usenet_posts/__init__.py").touch()
    (site / "usenet_posts/reader.py").write_text(READER)
    (tmp_path / "dump").mkdir()
    for name, text in POSTS.items():
        (tmp_path / f"dump/{name}.post").write_text(text)
    monkeypatch.syspath_prepend(site)
    reader_names.plugins.cache_clear()
    yield site / "usenet_posts/reader.py"
    reader_names.plugins.cache_clear()
    for name in ("usenet_posts.reader", "usenet_posts"):
        sys.modules.pop(name, None)


def add_source(
    folder: Path, *, section: dict | None = None, source: dict | None = None, own: dict | None = None
) -> None:
    """params.yaml of a checkout in which the package's reader has a source."""
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["sources"]["posts"] = {"reader": "usenet", "dumps": str(folder / "dump"), "license": "CC0-1.0"} | (
        source or {}
    )
    values["source_filters"]["posts"] = own or {}
    for name in ("edits", "reviews"):
        values["filter"][name] = str(ROOT / values["filter"][name])
    values["scrape"]["max_bad_share"] = 0.5
    if section is not None:
        values["filter"]["usenet"] = section
    yaml.dump(values, folder / "params.yaml")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_inspect_recognizes_the_format_of_a_plug_in(package, tmp_path):
    add_source(tmp_path)
    done = run(tmp_path, "lima.cli", "inspect", str(tmp_path / "dump"), "--json")
    shown = json.loads(done.stdout)
    assert (shown["format"], shown["rows"], shown["candidates"], shown["kept"]) == ("usenet", 3, 2, 2)
    assert [row["reason"] for row in shown["bad_rows"]] == ["no empty line after the subject"]


def test_a_source_of_a_plug_in_is_scraped_and_filtered_without_thresholds(package, tmp_path):
    add_source(tmp_path)
    for stage in ("scrape", "filter"):
        done = run(tmp_path, f"lima.stages.{stage}", "posts")
        assert done.returncode == 0, done.stderr
    candidates = list(jsonl.read(tmp_path / "data/scrape/posts/candidates.jsonl", Candidate))
    assert [candidate.id for candidate in candidates] == ["posts/posts/a", "posts/posts/b"]
    [dropped] = jsonl.read(tmp_path / "data/scrape/posts/dropped.jsonl", Dropped)
    assert dropped.reason == "bad_row"
    kept = list(jsonl.read(tmp_path / "data/filter/posts/kept.jsonl", Example))
    assert sorted(example.messages[0].content for example in kept) == ["How do I dry herbs?", "How do I oil a hinge?"]


def test_the_rules_of_a_plug_in_read_their_thresholds_and_those_of_its_source(package, tmp_path):
    package.write_text(READER + DECIDE)
    add_source(tmp_path, section={"min_chars": 1000}, own={"min_chars": 20})
    for stage in ("scrape", "filter"):
        done = run(tmp_path, f"lima.stages.{stage}", "posts")
        assert done.returncode == 0, done.stderr
    [funnel] = jsonl.read(tmp_path / "data/filter/posts/funnel.json", Funnel)
    assert (funnel.offered, funnel.kept, funnel.dropped) == (2, 1, {"too_short": 1})


@pytest.mark.parametrize(
    ("code", "section", "message"),
    [
        ("", {"min_chars": 9}, "has thresholds for the reader 'usenet', which has no filter: min_chars; remove them"),
        (
            DECIDE.replace(
                'decisions.dropped(candidate, "too_short",', "Dropped(reason='dull', place='', raw='', detail="
            ),
            {"min_chars": 99},
            "unknown reason 'dull'",
        ),
    ],
)
def test_a_filter_that_cannot_be_used_is_an_error(package, tmp_path, code, section, message):
    package.write_text(
        READER + code.replace("from lima.curation", "from lima.records import Dropped\nfrom lima.curation")
    )
    add_source(tmp_path, section=section)
    done = run(tmp_path, "lima.cli", "inspect", str(tmp_path / "dump"))
    assert done.returncode == 1 and message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_reader_is_an_error_that_lists_the_known_ones(package, tmp_path):
    add_source(tmp_path, source={"reader": "usnet"})
    with pytest.raises(
        ParamsError,
        match=r"sources\.posts\.reader: unknown reader: 'usnet'; the readers are .*, usenet; did you mean usenet\?",
    ):
        config.load(tmp_path / "params.yaml")
    with pytest.raises(DumpError, match=r"unknown reader: 'nntp'; .*; install the package that provides it"):
        registry.reader("nntp")


def test_a_section_of_the_filter_for_no_reader_is_an_error(package, tmp_path):
    add_source(tmp_path)
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        text.replace("  wikihow:\n    prefilter", "  usnet: {}\n  wikihow:\n    prefilter")
    )
    with pytest.raises(ParamsError, match=r"filter\.usnet: "):
        config.load(tmp_path / "params.yaml")


def test_a_module_that_is_not_a_reader_is_an_error(package):
    package.write_text("read = None")
    with pytest.raises(DumpError, match=r"the reader 'usenet' has no read and no pieces; see docs/sources\.md"):
        registry.source("usenet")


def test_a_reader_that_cannot_be_imported_is_an_error(package):
    package.write_text("import nntp_archive")
    with pytest.raises(
        reader_names.ReaderError, match=r"the reader 'usenet' .* cannot be imported: No module named 'nntp_ar"
    ):
        registry.source("usenet")


def test_names_of_readers_are_listed_without_importing_one(package):
    assert reader_names.names() == [*reader_names.BUILT_IN, "usenet"]
    assert "usenet_posts" not in sys.modules


def test_small_shards_are_grouped_if_the_reader_says_so(package, tmp_path):
    assert len(partitions("usenet", tmp_path / "dump", enough=10**6)) == 3
    sys.modules["usenet_posts.reader"].SMALL_SHARDS = True
    assert len(partitions("usenet", tmp_path / "dump", enough=10**6)) == 1


def test_the_code_of_a_plug_in_is_part_of_what_a_kept_result_depends_on(package):
    assert registry.plugin_files("usenet") == [package.with_name("__init__.py"), package]
    assert registry.plugin_files("wikihow") == []
