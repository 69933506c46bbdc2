"""A key on a stage's command line is part of a path: one that params.yaml does not have is refused, untouched."""

from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima.config import ParamsError

ROOT = Path(__file__).parents[2]
GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
KEYED = [name for name, stage in GRAPH.items() if "foreach" in stage]


@pytest.fixture
def victim(tmp_path, monkeypatch):
    """A file where data/STAGE/../../victim and work/STAGE/../../victim lead to."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    Path("work/locks").mkdir(parents=True)  # where a stage locks its key
    for folder in ("data", "work", "work/kept"):
        for stage in KEYED:
            Path(folder, stage).mkdir(parents=True)
    file = tmp_path / "victim" / "thesis.txt"
    file.parent.mkdir()
    file.write_text("three years of work")
    return file


@pytest.mark.parametrize("stage", KEYED)
def test_a_key_that_leads_elsewhere_is_refused_and_nothing_is_touched(stage, victim):
    before = sorted(Path().rglob("*"))
    with pytest.raises(ParamsError, match=r"unknown \w+: '\.\./\.\./victim'; params\.yaml has "):
        import_module(f"lima.stages.{stage}").main("../../victim")
    assert victim.read_text() == "three years of work"
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("stage", "registry"),
    [("scrape", "sources"), ("filter", "sources"), ("mix", "arms"), ("select", "arms"), ("judge", "evaluations")],
)
def test_neither_does_it_help_to_write_it_into_the_parameters(stage, registry, victim):
    yaml = YAML()
    values = yaml.load(Path("params.yaml"))
    values[registry]["../../victim"] = next(iter(values[registry].values()))
    yaml.dump(values, Path("params.yaml"))
    with pytest.raises(ParamsError, match=rf"{registry}: '\.\./\.\./victim' cannot be a key"):
        import_module(f"lima.stages.{stage}").main("../../victim")
    assert victim.read_text() == "three years of work"
