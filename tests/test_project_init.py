"""`lima init`: thresholds, the plan, and a project whose data stages run outside of a checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import config, inspection, project_init, threshold_preview
from lima.config import profiles
from lima.project_init import Choices, InitError, Judge
from lima.threshold_preview import Bounds, Thresholds
from lima.training.cost_formulas import STRATEGIES

ROOT = Path(__file__).parents[1]
PARAMS = config.load()
STEM = ROOT / "corpus/dumps/stack_exchange_stem"
PROPOSED = Choices(base=None, size=4, judge=None, min_score=None, min_chars=None, license=None, short=0)


@pytest.fixture(scope="module")
def stem():
    return threshold_preview.read(STEM, PARAMS.filter, limit=None)


def test_the_table_has_the_counts_of_inspect_at_the_thresholds_of_params(stem):
    shown = inspection.inspect(STEM, PARAMS)
    [kept_at] = shown.kept_at.values()
    bounds = stem.thresholds.bounds
    assert {score: stem.kept[Thresholds(score, bounds)] for score in kept_at} == kept_at
    assert stem.kept[stem.thresholds] == shown.kept > 0


def test_a_lower_threshold_never_keeps_fewer_examples(stem):
    for thresholds, count in stem.kept.items():
        for other, more in stem.kept.items():
            wider = (
                other.min_score <= thresholds.min_score
                and other.bounds.min_chars <= thresholds.bounds.min_chars
                and other.bounds.max_chars >= thresholds.bounds.max_chars
            )
            assert not wider or more >= count


def test_the_strictest_combination_that_suffices_is_proposed():
    long, short = Bounds(1200, 4096), Bounds(600, 4096)
    kept = {Thresholds(10, long): 6, Thresholds(5, long): 14, Thresholds(10, short): 20, Thresholds(5, short): 30}
    preview = preview_of(kept)
    assert threshold_preview.suggest(preview, 6) == Thresholds(10, long)
    assert threshold_preview.suggest(preview, 14) == Thresholds(5, long)  # fewer votes before shorter responses
    assert threshold_preview.suggest(preview, 15) == Thresholds(10, short)
    assert threshold_preview.suggest(preview, 99) == Thresholds(5, short)  # none suffices: the one with most


def preview_of(kept, *, reader="stack_exchange", with_response=100):
    return threshold_preview.Preview(
        path=Path("beer.7z"),
        reader=reader,
        candidates=100,
        with_response=with_response,
        limited=False,
        bad_rows=0,
        first_bad="",
        thresholds=next(iter(kept)),
        kept=kept,
        dropped={},
        other_subreddits={},
        prompts={},
    )


def test_sources_have_valid_and_distinct_names():
    known = {}
    for name in ("beer.stackexchange.com.7z", "beer.7z", "authored", "RC_2024-01.zst", "рукопись.jsonl.gz"):
        known[project_init.source_name(Path(name), known)] = None
    assert list(known) == ["beer", "beer_2", "authored_2", "rc_2024_01", "dump"]


def test_an_arm_leaves_examples_for_the_held_out_set():
    only = Thresholds(10, Bounds(1200, 4096))
    proposal = project_init.plan({"beer": preview_of({only: 9})}, PROPOSED._replace(size=16))
    [beer] = proposal.sources
    assert (beer.available, beer.held_out, beer.examples) == (9, 2, 6)  # (9 - 2) / 1.1 = 6.4


def test_a_dump_without_examples_is_an_error_with_the_table():
    empty = {"beer": preview_of({Thresholds(10, Bounds(1200, 4096)): 0})}
    with pytest.raises(InitError, match=r"no training examples .*\n.*beer.7z: stack_exchange, 100 candidates"):
        project_init.plan(empty, PROPOSED)


def reddit_dump(path, *, comments=True):
    posts = [{"id": f"p{i}", "subreddit": "Homebrew", "title": f"{word} in beer", "score": 50} for i, word in WORDS]
    replies = [{"id": f"c{i}", "link_id": f"t3_p{i}", "body": f"{word} matters. " * 40} for i, word in WORDS]
    replies = [row | {"parent_id": row["link_id"], "subreddit": "Homebrew", "score": 30} for row in replies]
    rows = [*posts, *(replies if comments else [])]
    path.write_text("".join(json.dumps(row | {"author": "a"}) + "\n" for row in rows))
    return path


WORDS = list(enumerate(("Yeast", "Water", "Hops", "Malt")))


def test_a_dump_of_another_subreddit_is_an_error_that_names_the_option(tmp_path):
    dump = reddit_dump(tmp_path / "homebrew.jsonl")
    with pytest.raises(InitError) as caught:
        project_init.plan(project_init.preview([dump], PARAMS.filter, limit=None), PROPOSED)
    text = str(caught.value)
    assert "dropped at the most lenient thresholds:\n    4 other_subreddit: from a subreddit" in text
    assert "subreddits that are not selected: Homebrew 4\n" in text and "--subreddit Homebrew\n" in text


def test_a_selected_subreddit_gives_examples_and_is_written(tmp_path):
    dump = reddit_dump(tmp_path / "homebrew.jsonl")
    settings = project_init.with_subreddits(PARAMS.filter, ["homebrew"])
    choices = PROPOSED._replace(subreddits=("homebrew",))
    proposal = project_init.plan(project_init.preview([dump], settings, limit=None), choices)
    assert proposal.sources[0].available == 4
    params = config.check(YAML(typ="safe").load(project_init.params_text(proposal, choices, tmp_path)), name="new")
    assert params.rules("homebrew").reddit.prefilter.model_dump() == {
        "train_subreddits": ["homebrew"],
        "prompt_subreddits": [],
    }
    with pytest.raises(InitError, match=r"not a name of a subreddit: 'r/homebrew'; use for example --subreddit"):
        project_init.with_subreddits(PARAMS.filter, ["r/homebrew"])


def test_submissions_without_comments_are_an_error_that_asks_for_them(tmp_path):
    dump = reddit_dump(tmp_path / "homebrew.jsonl", comments=False)
    settings = project_init.with_subreddits(PARAMS.filter, ["Homebrew"])
    with pytest.raises(InitError, match=r"4 no_answer: no response\n  an example is a submission with"):
        project_init.plan(project_init.preview([dump], settings, limit=None), PROPOSED)


def test_the_table_of_tasks_counts_one_example_for_each(tmp_path):
    tasks = ROOT / "corpus/dumps/natural_instructions"
    preview = threshold_preview.read(tasks, PARAMS.filter, limit=None)
    kept = inspection.inspect(tasks, PARAMS).kept
    [count] = preview.kept.values()
    assert 0 < count <= len(list(tasks.rglob("task*.json"))) < kept
    assert "one example per task" in threshold_preview.render(preview, preview.thresholds)


def test_the_first_bad_row_is_shown_with_its_reason(tmp_path):
    rows = [["a", 3], ["a", "b"], ["a", 4]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"conversations": row}) + "\n" for row in rows))
    preview = threshold_preview.read(tmp_path / "a.jsonl", PARAMS.filter, limit=None)
    shown = threshold_preview.render(preview, preview.thresholds)
    assert ", 2 bad rows\n" in shown and "first bad row: " in shown and "a.jsonl:1: conversations.1: " in shown
    assert "votes" not in shown  # chat rows have none


@pytest.mark.parametrize(
    ("url", "model", "message"),
    [
        (None, "m", "--judge-url is missing"),
        ("localhost:8000", "m", "is not a URL: 'localhost:8000'"),
        ("http://localhost:8000/v1", None, "--judge-model is missing"),
    ],
)
def test_an_incomplete_judge_is_an_error(url, model, message):
    with pytest.raises(InitError, match=message):
        project_init.read_judge(url, model, "")


def test_a_base_model_is_a_folder_a_file_or_a_revision_of_the_hub(tmp_path):
    (tmp_path / "My Model").mkdir()
    assert project_init.base_model(None) == ("smollm2-135m", "")
    assert project_init.base_model(str(tmp_path / "My Model"))[0] == "my-model"
    key, entry = project_init.base_model("HuggingFaceTB/SmolLM2-135M@93efa2f")
    assert (key, YAML(typ="safe").load(entry)) == (
        "smollm2-135m",
        {"kind": "hub", "id": "HuggingFaceTB/SmolLM2-135M", "revision": "93efa2f"},
    )
    with pytest.raises(InitError, match="base model not found: 'gpt-5'"):
        project_init.base_model("gpt-5")


@pytest.mark.parametrize("text", ["yes", "10", "a: b", "CC BY-SA", "http://h/v1", "", "C# [x]", "1.0", "null", "a"])
def test_text_of_options_is_read_back_unchanged(text):
    assert YAML(typ="safe").load(project_init._flow({"license": text})) == {"license": text}


def test_every_profile_key_and_comment_is_in_the_new_params(stem, tmp_path):
    choices = PROPOSED._replace(judge=Judge("http://localhost:8000/v1", "m", "JUDGE_KEY"))
    text = project_init.params_text(project_init.plan({"stem": stem}, choices), choices, tmp_path)
    params = config.check(YAML(typ="safe").load(text), name="params.yaml")
    assert params.sources["stem"].dumps == str(STEM) and params.sources["stem"].license == "CC BY-SA"
    assert params.arms["own"].examples == {"stem": 4}
    assert params.panels["pairs"]["judge"].key_variable == "JUDGE_KEY"
    assert params.uncompared_arms() == {}
    assert "lr: 1.0e-4  # initial learning rate" in text
    assert list(params.sources) == ["stem", "authored", "adversarial", "dialogues"]
    assert all(f"\n# {words}" in text for words in ("Data sources", "Training recipes", "Panels of annotators"))


def test_short_examples_are_a_second_arm_which_is_compared(stem, tmp_path):
    choices = PROPOSED._replace(short=30)
    proposal = project_init.plan({"stem": stem}, choices)
    params = config.check(YAML(typ="safe").load(project_init.params_text(proposal, choices, tmp_path)), name="params")
    assert params.arms["own"].examples == {"stem": 4}  # as without --short
    assert params.arms["own-short"].examples == {"stem": 4, "authored_short": 30}
    assert params.sources["authored_short"].dumps == "corpus/authored_short"
    pairs = {(e.contestant, e.rival) for e in params.evaluations.values() if e.task == "pairwise"}
    assert {("own-short", "own"), ("own-short", "base")} <= pairs and params.uncompared_arms() == {}
    with pytest.raises(InitError, match=r"--short is 99, but 63 short examples are there; use at most 63"):
        project_init.check_short(99)


def test_the_projects_files_are_part_of_the_distribution():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    shipped = {str(path.relative_to(ROOT)) for patterns in listed.values() for p in patterns for path in ROOT.glob(p)}
    assert {*project_init.FILES, project_init.NOTEBOOK} <= shipped
    assert all(folder == f"share/lima/{Path(p).parent}".removesuffix("/.") for folder, ps in listed.items() for p in ps)


def test_a_project_has_the_launch_configurations_that_lima_plan_names():
    launched = {strategy.config for strategy in STRATEGIES}
    assert launched <= set(project_init.FILES)
    for name in project_init.FILES:
        if name.startswith("infra/accelerate/"):
            settings = YAML(typ="safe").load(ROOT / name)
            assert settings.get("deepspeed_config", {}).get("deepspeed_config_file") in (None, *project_init.FILES)


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    env = {**os.environ, "DVC_NO_ANALYTICS": "true", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", *words], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "project"
    done = run("lima.cli", "init", str(STEM), "--out", str(folder), "--size", "4", "--yes", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "votes ≥ 3" in done.stdout and "arm own: 4 examples" in done.stdout
    assert "lima chat own base" in done.stdout and "--short 30" in done.stdout
    return folder


def test_a_project_has_every_input_that_its_stages_need(project):
    checked = run("lima.cli", "profile", "check", cwd=project)
    assert checked.returncode == 0, checked.stderr
    status = run("dvc", "status", "--json", cwd=project)
    assert status.returncode == 0, status.stderr
    changes = [change for stage in json.loads(status.stdout).values() for change in stage if isinstance(change, dict)]
    inputs = [path for change in changes for path in change.get("changed deps", {}).items()]
    assert len(inputs) > 100
    assert [path for path, state in inputs if state == "deleted" and not path.startswith("data/")] == []


def test_the_data_stages_run_in_the_project(project):
    name = project_init.source_name(STEM, {})
    for stage, key in (("scrape", name), ("filter", name)):
        done = run(f"lima.stages.{stage}", key, cwd=project)
        assert done.returncode == 0, done.stderr
    [line] = (project / f"data/filter/{name}/funnel.json").read_text().splitlines()
    assert json.loads(line)["kept"] >= 4


def test_a_project_is_not_overwritten(project):
    again = run("lima.cli", "init", str(STEM), "--out", str(project), cwd=project.parent)
    assert (again.returncode, again.stderr.partition(";")[0]) == (1, f"error: {project}/params.yaml exists")


def test_a_clone_is_not_a_new_project(tmp_path):
    (tmp_path / "lima").mkdir()
    with pytest.raises(InitError, match="has a folder named lima"):
        project_init.check_folder(tmp_path, force=True)


def test_an_overlay_replaces_registries_and_merges_sections():
    text = profiles.compose("ci")
    assert list(YAML(typ="safe").load(text)["models"]) == ["random"]
    assert YAML(typ="safe").load(text)["train"]["beta1"] == PARAMS.train.beta1
