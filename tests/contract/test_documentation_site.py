"""Documentation site: the picture of the pipeline is current, the site builds without a warning and offline."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import BaseModel

from lima import config, training_plan
from lima.config import profiles
from lima.training.cost_formulas import PEAKS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "infra"))  # scripts, not a package
import pipeline_graph  # noqa: E402


def test_the_picture_of_the_pipeline_is_that_of_dvc_yaml():
    assert pipeline_graph.OUT.read_text(encoding="utf-8") == pipeline_graph.svg(), "run `make docs`"


def test_an_arrow_that_a_chain_implies_is_left_out():
    edges = {
        "scrape": set(),
        "filter": {"scrape"},
        "mix": {"scrape", "filter"},
        "base": set(),
        "train": {"mix", "base"},
    }
    assert pipeline_graph.reduced(edges) == {**edges, "mix": {"filter"}}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site; mkdocs --strict fails on a link, an anchor or a page of the navigation that does not exist."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects the addresses that a browser loads with a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("script", "img", "iframe") or (tag == "link" and values.get("rel") != "canonical"):
            self.addresses.append(values.get("src") or values.get("href") or "")


def test_the_site_loads_nothing_from_the_network(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert [address for address in parser.addresses if re.match(r"(https?:)?//", address)] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", sheet.read_text(encoding="utf-8"))


def leaves(model: type[BaseModel], path: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += leaves(inner, f"{path}{name}.")
        else:
            names.append(name)
    return names


def test_the_reference_has_every_key_and_every_record(site):
    params = (site / "reference/params.html").read_text(encoding="utf-8")
    assert [
        name for name in leaves(config.Params) if f">{name.strip('_')}<" not in params.replace("</code>", "<")
    ] == []
    assert "≥ 0, ≤ 1" in params and "initial learning rate; 1e-5 in §3" in params
    records = (site / "reference/records.html").read_text(encoding="utf-8")
    assert "SHA-256 of the raw record, hexadecimal" in records


def planned():
    page = (ROOT / "docs/reproduction.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(paper-\w+)` \| `([\w-]+)` \| ([\d,]+) \| ([\d.]+) \| (\d+) GPUs(.*?) \|$", page, re.M)


def test_the_gpu_hours_of_the_reproduction_page_are_planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without counted tokens: estimates from Table 1
    assert len(planned()) > 5
    for profile, arm, examples, hours, gpus, where in planned():
        machine = training_plan.Machine(1, int(gpus), 80, PEAKS["H100"], 0.4)
        plan = training_plan.plan(arm, profiles.load(profile), machine)
        assert (f"{plan.examples:,}", f"{plan.hours * int(gpus):.1f}") == (examples, hours)
        fitting = [each.strategy.name for each in plan.fits if each.fits]
        assert ("optimizer in RAM" in fitting[0]) == ("CPU memory" in where)
