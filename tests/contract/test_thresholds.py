"""Stages that DVC runs again after a threshold has changed."""

import shutil
from pathlib import Path

import pytest
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
WIKIHOW = {"filter@wikihow"}
EXCHANGES = {"filter@stack_exchange_stem", "filter@stack_exchange_other"}
OTHER = "stack_exchange_other"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    Repo.init(str(folder), no_scm=True).close()
    return folder


def values(checkout: Path) -> dict[str, object]:
    """The parameters of each stage of scrape and filter, by the name of the stage."""
    with Repo(str(checkout)) as repo:
        return {
            stage.name: [dep.read_params() for dep in stage.deps if isinstance(dep, ParamsDependency)]
            for stage in repo.index.stages
            if stage.name.startswith(("scrape@", "filter@"))
        }


@pytest.fixture(scope="module")
def before(checkout):
    found = values(checkout)
    assert {"scrape@wikihow", "filter@wikihow"} <= found.keys()
    return found


@pytest.mark.parametrize(
    ("key", "value", "again"),
    [
        ("filter.wikihow.min_chars", 700, WIKIHOW),
        ("filter.reddit.min_response_score", 50, {"filter@reddit"}),
        ("filter.reddit.prefilter.train_subreddits", ["HFY"], {"scrape@reddit", "filter@reddit"}),
        ("filter.natural_instructions.min_median_words", 9, {"filter@natural_instructions"}),
        ("filter.stack_exchange.min_chars", 1000, EXCHANGES),
        (  # the reader skips what has fewer votes
            "filter.stack_exchange.prefilter.min_response_score",
            5,
            EXCHANGES | {"scrape@stack_exchange_stem", f"scrape@{OTHER}"},
        ),
        (f"source_filters.{OTHER}", {"min_chars": 1000}, {f"filter@{OTHER}"}),
        (f"sources.{OTHER}.prefilter", {"min_response_score": 5}, {f"scrape@{OTHER}", f"filter@{OTHER}"}),
        ("sources.authored.license", "CC0-1.0", {"scrape@authored", "filter@authored"}),
    ],
)
def test_a_changed_threshold_runs_only_the_sources_whose_rules_read_it(key, value, again, checkout, before):
    yaml = YAML()
    changed = yaml.load(ROOT / "params.yaml")
    *path, last = key.split(".")
    section = changed
    for part in path:
        section = section[part]
    section[last] = value
    yaml.dump(changed, checkout / "params.yaml")
    after = values(checkout)
    assert {stage for stage in before if before[stage] != after[stage]} == again


def test_a_changed_rule_for_all_sources_filters_all_again(checkout, before):
    text = (ROOT / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(text.replace("least_jaccard: 0.7", "least_jaccard: 0.8"))
    after = values(checkout)
    assert {stage for stage in before if before[stage] != after[stage]} == {
        stage for stage in before if stage.startswith("filter@")
    }
