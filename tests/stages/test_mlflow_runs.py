"""Runs in MLflow, made again from the files that the stages wrote."""

import contextlib
import hashlib
import json
import shutil
from pathlib import Path

import finished_run
import pytest
from mlflow.entities import ViewType

from lima import config, jsonl, mlflow_runs, tracking
from lima.records import StepMetrics
from lima.reporting.metrics import run_metrics

# MLflow's tables are declared in a way that SQLAlchemy 2.1 calls outdated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture(scope="module")
def finished(mlflow_store, tmp_path_factory):
    """A finished run and its figures, and an empty store."""
    folder = tmp_path_factory.mktemp("finished")
    with contextlib.chdir(folder):
        finished_run.build()
        Path("reports/cards").mkdir(parents=True)
        Path("reports/report.html").write_text("<p>report</p>")
        figures = {
            "arms": {},
            "evaluations": {},
            "adversarial": {},
            "forms": {},
            "likelihood": {},
            "format_distance": {},
        }
        for arm in ("lima", "unfiltered"):
            Path(f"reports/cards/{arm}.html").write_text("<p>card</p>")
            figures["arms"][arm] = {"held_out_perplexity": 9.9, "ended": None}
        figures["evaluations"]["lima-base"] = {"judge": {"net": 0.25}}
        Path("reports/metrics.json").write_text(json.dumps(figures))
    shutil.copy(mlflow_store, folder / "mlflow.db")
    return folder


@pytest.fixture
def checkout(finished, tmp_path, monkeypatch):
    """A copy of the finished run."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return config.load()


@pytest.fixture(scope="module")
def published(finished, tmp_path_factory):
    """All that the store has after publishing once."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow_runs.publish(config.load())
        return tables()


def tables():
    """All that the store has of each arm, without the ids that MLflow assigns."""
    client = tracking._client()
    experiment = client.get_experiment_by_name("lima")
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    return {
        run.info.run_name: {
            "params": run.data.params,
            "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.user")},
            "metrics": {
                key: [
                    (m.step, m.value, m.timestamp if key.startswith(("step/", "epoch/train")) else None)
                    for m in client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
            },
            "datasets": sorted((d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs),
            "outputs": len(run.outputs.model_outputs),
            "models": sorted(
                (model.name, model.tags["folder"], sorted((m.key, m.value) for m in model.metrics))
                for model in client.search_logged_models(
                    [experiment.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
                )
            ),
            "selected": client.get_model_version_by_alias(f"lima-{run.info.run_name}", "selected").tags["epoch"],
            "versions": len(client.search_model_versions(f"name = 'lima-{run.info.run_name}'")),
            "artifacts": sorted(path.name for path in Path(f"mlartifacts/lima/{run.info.run_id}/artifacts").iterdir()),
        }
        for run in runs
    } | {"runs": len(runs)}


def logged_by_the_stages(params):
    """Log as train, select and report do, one after the other."""
    for arm in params.arms:
        folder = Path("data/train") / arm
        description = mlflow_runs.read(folder).model_copy(update={"run_id": ""})
        with mlflow_runs.training(arm, description, folder) as run:
            seconds = 0.0
            epochs = {epoch.epoch: epoch for epoch in jsonl.read(folder / "epochs.jsonl", mlflow_runs.EpochMetrics)}
            steps = list(jsonl.read(folder / "steps.jsonl", StepMetrics))
            speeds = jsonl.read(folder / "speed.jsonl", mlflow_runs.StepSpeed)
            for step, speed in zip(steps, speeds, strict=True):
                seconds += step.seconds
                at = mlflow_runs.moment(description, seconds)
                run.metrics(mlflow_runs.step_values(step, speed), step=step.step, time=at)
                if step.step % finished_run.STEPS == 0:
                    mlflow_runs.log_epoch(run, arm, epochs[step.epoch], time=at)
        mlflow_runs.log_selection(arm)
    figures = json.loads(Path("reports/metrics.json").read_text())
    for arm in params.arms:
        mlflow_runs.log_report(arm, run_metrics(params, figures, arm))


def test_a_lost_store_comes_back_equal_and_publishing_again_changes_nothing(
    checkout, mlflow_store, tmp_path, monkeypatch
):
    logged_by_the_stages(checkout)
    logged = tables()
    other = tmp_path / "other"  # another path: MLflow keeps the deleted file of an address open
    shutil.copytree(".", other, ignore=shutil.ignore_patterns("other", "mlflow.db", "mlartifacts"))
    shutil.copy(mlflow_store, other / "mlflow.db")
    monkeypatch.chdir(other)
    mlflow_runs.publish(checkout)
    assert tables() == logged
    lines = mlflow_runs.publish(checkout)
    assert tables() == logged
    assert logged["runs"] == len(lines) == 2
    assert logged["lima"]["outputs"] == finished_run.EPOCHS
    assert logged["lima"]["artifacts"] == ["lima.html", "report.html", "train.jsonl"]


def test_runs_that_training_could_not_log_are_published_afterwards(checkout):
    Path("data/train/unfiltered").rename("later")  # MLflow will have no run of it
    mlflow_runs.publish(checkout)
    tracking._client().update_run(tracking.find(mlflow_runs.identity("lima")).run_id, status="RUNNING")  # it was lost
    Path("later").rename("data/train/unfiltered")
    assert [line.split(":")[0] for line in mlflow_runs.publish_unfinished(checkout)] == ["lima", "unfiltered"]
    assert {tracking.find(mlflow_runs.identity(arm)).status for arm in checkout.arms} == {"FINISHED"}
    assert tables()["runs"] == 2
    assert mlflow_runs.publish_unfinished(checkout) == []


def test_runs_differ_in_what_their_arms_differ_in(published, finished):
    runs = published
    params = {arm: runs[arm]["params"] for arm in ("lima", "unfiltered")}
    assert {key for key in params["lima"] if params["lima"][key] != params["unfiltered"][key]} == {
        "pool",
        "sources.stack_exchange_stem",
        "sources.authored",
    }
    assert (params["lima"]["sources.authored"], params["unfiltered"]["sources.authored"]) == ("4", "0")
    assert "peak_flops" not in params["lima"]
    tags = runs["unfiltered"]["tags"]
    assert (tags["arm"], tags["axis"], tags["size"], tags["data_seed"]) == ("unfiltered", "quality", "10", "17")
    assert tags["data"] == hashlib.sha256((finished / "data/mix/unfiltered/train.jsonl").read_bytes()).hexdigest()
    assert ("unfiltered/train", tags["data"][:36]) in runs["unfiltered"]["datasets"]


def test_a_metric_is_logged_by_step_or_by_epoch_but_not_both(published):
    metrics = published["lima"]["metrics"]
    steps, epochs = finished_run.EPOCHS * finished_run.STEPS, finished_run.EPOCHS
    assert [step for step, _, _ in metrics["step/loss"]] == list(range(1, steps + 1))
    assert [step for step, _, _ in metrics["epoch/held_out_perplexity"]] == list(range(1, epochs + 1))
    assert metrics["data/tokens"] == [(0, 900.0, None)]


def test_a_copied_checkout_has_its_artifacts(checkout, tmp_path, monkeypatch):
    mlflow_runs.publish(checkout)
    other = tmp_path / "copy"
    other.mkdir()
    for name in ("mlflow.db", "mlartifacts"):
        shutil.move(name, other / name)
    monkeypatch.chdir(other)
    [uri] = {run.info.artifact_uri for run in tracking._client().search_runs(["1"], "tags.arm = 'lima'")}
    assert str(tmp_path) not in uri
    assert tables()["lima"]["artifacts"] == ["lima.html", "report.html", "train.jsonl"]


def test_an_arm_that_was_not_trained_is_named(checkout):
    shutil.rmtree("data/train/unfiltered")
    assert mlflow_runs.publish(checkout)[1] == "unfiltered: not trained; run `dvc repro train@unfiltered`"
    shutil.rmtree("data/train")
    with pytest.raises(mlflow_runs.NoTraining, match="no training run in data/train of the arms lima, unfiltered"):
        mlflow_runs.publish(checkout)


def test_a_torn_line_of_throughput_is_removed_and_later_lines_replace_earlier_ones(tmp_path):
    path = tmp_path / "speed.jsonl"
    lines = [mlflow_runs.StepSpeed(step=n, tokens_per_second=s, mfu=None, peak_memory=1.0) for n, s in ((1, 5), (1, 7))]
    whole = "".join(line.model_dump_json() + "\n" for line in lines)
    path.write_text(whole + '{"step":2,"tok')
    assert mlflow_runs.resume_speeds(path) == {1: lines[1]}
    assert path.read_text() == lines[1].model_dump_json() + "\n"


def test_publishing_fails_without_a_server(checkout, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(tracking.TrackingError, match=r"MLflow at http://127.0.0.1:1 is not available"):
        mlflow_runs.publish(checkout)
