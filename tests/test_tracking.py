import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lima import tracking
from lima.errors import Stopped

# MLflow's tables are declared in a way that SQLAlchemy 2.1 calls outdated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
SCORES = {"train_loss": 1.5, "held_out_perplexity": 12.0}


@pytest.fixture
def store(mlflow_store, tmp_path, monkeypatch):
    """A client of the local store below a fresh folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def logged_models(store, run_id):
    place = store.get_run(run_id).info.experiment_id
    return store.search_logged_models([place], filter_string=f"source_run_id = '{run_id}'")


def test_a_run_holds_parameters_metrics_by_step_and_ends_finished(store):
    with tracking.start("lima", {"lr": 1e-5, "epochs": 15}) as run:
        for step, loss in ((1, 3.0), (2, 2.5)):
            run.metrics({"loss": loss, "absent": None}, step=step)
        assert store.get_run(run.id).info.status == "RUNNING"
    found = store.get_run(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "lima")
    assert found.data.params == {"lr": "1e-05", "epochs": "15"}
    assert [(m.step, m.value) for m in store.get_metric_history(run.id, "loss")] == [(1, 3.0), (2, 2.5)]
    assert "absent" not in found.data.metrics
    assert store.get_experiment(found.info.experiment_id).name == "lima"


@pytest.mark.parametrize(
    ("raised", "status"),
    [(ValueError, "FAILED"), (SystemExit, "FAILED"), (KeyboardInterrupt, "KILLED"), (Stopped, "KILLED")],
)
def test_a_run_that_fails_ends_failed_and_one_that_is_stopped_ends_killed(store, raised, status):
    with pytest.raises(raised), tracking.start("lima", {}) as run:
        raise raised
    assert store.get_run(run.id).info.status == status


def test_an_epochs_checkpoint_is_one_logged_model_whoever_scores_it(store):
    with tracking.start("lima", {}) as run:
        for epoch in (1, 2):
            run.checkpoint(epoch, Path(f"data/train/lima/epoch-0{epoch}"), SCORES)
    with tracking.join(run.id) as joined:
        joined.checkpoint(1, Path("data/train/lima/epoch-01"), {"win": 0.75})
    models = {model.name: model for model in logged_models(store, run.id)}
    assert sorted(models) == ["epoch-01", "epoch-02"]
    assert len(logged_models(store, run.id)) == 2
    scores = {name: {m.key: m.value for m in model.metrics} for name, model in models.items()}
    assert scores == {"epoch-01": SCORES | {"win": 0.75}, "epoch-02": SCORES}
    assert models["epoch-01"].tags["folder"] == "data/train/lima/epoch-01"
    assert models["epoch-01"].status == "READY"


def test_checkpoints_of_two_runs_are_models_of_their_own(store):
    runs = []
    for arm in ("lima", "unfiltered"):
        with tracking.start(arm, {}) as run:
            run.checkpoint(1, Path(f"data/train/{arm}/epoch-01"), SCORES)
        runs.append(run.id)
    assert [len(logged_models(store, run)) for run in runs] == [1, 1]


def test_an_artifact_lies_below_the_checkout_and_a_joined_run_stays_finished(store, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>so</p>")
    with tracking.start("lima", {}) as run:
        pass
    with tracking.join(run.id) as joined:
        joined.artifact(report)
    kept = [path for path in tmp_path.rglob("report.html") if path != report]
    assert [path.relative_to(tmp_path) for path in kept] == [Path(f"mlartifacts/lima/{run.id}/artifacts/report.html")]
    assert store.get_run(run.id).info.status == "FINISHED"
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlartifacts", "report.html"}


def test_a_server_that_is_away_costs_one_warning_and_a_few_seconds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    pauses, done = [], []  # seconds between two attempts of a request
    monkeypatch.setattr(time, "sleep", pauses.append)
    with tracking.start("lima", {"lr": 1e-5}) as run:
        run.metrics({"loss": 1.0}, step=1)
        run.checkpoint(1, Path("data/train/lima/epoch-01"), SCORES)
        run.artifact(Path("report.html"))
        done.append(run.id)
    with tracking.join(run.id) as joined:
        joined.metrics({"win": 1.0}, step=1)
    said = capsys.readouterr()
    assert done == [""]
    assert said.err.count("warning: ") == said.err.count("\n") == 1
    assert said.err.startswith("warning: MLflow is not available, continuing without tracking: ")
    assert said.out == ""
    assert sum(pauses) < 15
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_goes_away_in_the_middle_costs_one_warning(store, monkeypatch, capsys):
    with tracking.start("lima", {}) as run:
        run.metrics({"loss": 1.0}, step=1)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        for step in (2, 3):
            run.metrics({"loss": 1.0}, step=step)
    assert capsys.readouterr().err.count("warning: ") == 1


@pytest.mark.parametrize("kind", ["a torn file", "a folder that cannot be"])
def test_a_store_that_cannot_be_opened_costs_one_warning(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    Path("mlflow.db").write_bytes(b"no database" * 100)
    if kind == "a folder that cannot be":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db/x.db")
    with tracking.start("lima", {}) as run:
        run.metrics({"loss": 1.0}, step=1)
    assert run.id == ""
    assert capsys.readouterr().err.count("warning: ") == 1


def test_a_run_this_store_does_not_know_takes_nothing_and_says_so(store, capsys):
    with tracking.join("0123456789abcdef0123456789abcdef") as run:
        run.metrics({"win": 1.0}, step=1)
    assert run.id == ""
    assert capsys.readouterr().err.count("warning: ") == 1


def test_a_run_without_an_id_takes_nothing_silently(store, capsys):
    with tracking.join("") as run:
        run.metrics({"win": 1.0}, step=1)
    assert capsys.readouterr().err == ""


def test_the_users_store_wins(store, mlflow_store, tmp_path, monkeypatch):
    other = tmp_path / "other.db"
    shutil.copy(mlflow_store, other)
    with tracking.start("here", {}):
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with tracking.start("there", {}):
        pass
    names = {}
    for path in (tmp_path / "mlflow.db", other):
        with sqlite3.connect(path) as database:
            names[path.name] = [name for (name,) in database.execute("SELECT name FROM runs")]
        database.close()
    assert names == {"mlflow.db": ["here"], "other.db": ["there"]}


def test_nothing_of_the_environment_reaches_the_store(mlflow_store, tmp_path):
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    words = (
        "from lima import tracking\nfrom pathlib import Path\n"
        "with tracking.start('lima', {'lr': 1}) as run:\n"
        "    run.metrics({'loss': 1.0}, step=1); run.checkpoint(1, Path('epoch-01'), {'loss': 1.0})\n"
    )
    secret = "sk-never-tell-this"
    environment = {**os.environ, "OPENAI_API_KEY": secret, "PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("MLFLOW_TRACKING_URI", None)
    subprocess.run([sys.executable, "-c", words], cwd=tmp_path, env=environment, check=True)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"epoch-01" in content for content in files)
    assert not any(secret.encode() in content for content in files)


def test_a_run_has_a_page_on_a_server_that_knows_it_only(store, monkeypatch, capsys):
    with tracking.start("lima", {}) as run:
        pass
    assert tracking.page(run.id) is None  # a local file has no pages
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert tracking.page(run.id) is None
    assert "MLflow is not available" in capsys.readouterr().err
    monkeypatch.setattr(tracking, "_client", lambda: store)
    [experiment] = [each for each in store.search_experiments() if each.name == "lima"]
    assert tracking.page(run.id) == f"http://127.0.0.1:1/#/experiments/{experiment.experiment_id}/runs/{run.id}"
