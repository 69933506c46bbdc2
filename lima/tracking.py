"""Experiment tracking with MLflow; the only module that imports mlflow.

Each arm has one run: `start` opens it, `join` continues it. If MLflow is not available, one warning is printed and the
stage continues: the run's id becomes "", and every later call is a no-op.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# long enough for a busy server, short enough for an unreachable one; values that the user set take precedence
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

import mlflow  # reads the variables set above
from mlflow.entities import LoggedModelStatus, Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from lima.display import visible_line

EXPERIMENT = "lima"
LOCAL = Path("mlflow.db")  # the default store, without MLFLOW_TRACKING_URI
ARTIFACTS = Path("mlartifacts")
# a rejected request, a lost connection (requests' errors are OSErrors), a full disk, a locked or broken database
AWAY = (MlflowException, OSError, SQLAlchemyError)


class Run:
    """An MLflow run. With an empty id every call is a no-op."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id

    def metrics(self, values: Mapping[str, float | None], *, step: int) -> None:
        """Log metrics at an optimizer step; None values are skipped."""
        self._attempt(lambda client: client.log_batch(self.id, metrics=_metrics(values, step)))

    def checkpoint(self, epoch: int, folder: Path, scores: Mapping[str, float]) -> None:
        """Log an epoch's checkpoint as a model with scores; a second call adds scores to the same model."""

        def log(client: mlflow.MlflowClient) -> None:
            model = self._model(client, epoch, folder)
            client.log_batch(self.id, metrics=_metrics(scores, epoch, model=model))

        self._attempt(log)

    def last_step(self, key: str) -> int:
        """Return the last step with a value of a metric; 0 if there is none."""
        steps = [0]
        self._attempt(lambda c: steps.extend(metric.step for metric in c.get_metric_history(self.id, key)))
        return max(steps)

    def artifact(self, path: Path) -> None:
        """Upload a file."""
        self._attempt(lambda client: client.log_artifact(self.id, str(path)))

    def _model(self, client: mlflow.MlflowClient, epoch: int, folder: Path) -> str:
        name, experiment = f"epoch-{epoch:02}", client.get_run(self.id).info.experiment_id
        condition = f"source_run_id = '{self.id}' AND name = '{name}'"
        for known in client.search_logged_models([experiment], filter_string=condition):
            return str(known.model_id)
        tags = {"folder": str(folder)}
        model = client.create_logged_model(
            experiment, name=name, source_run_id=self.id, model_type="checkpoint", tags=tags
        )
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return str(model.model_id)

    def _attempt(self, work: Callable[[mlflow.MlflowClient], object]) -> None:
        """Call `work` unless the id is empty; on an error print a warning and empty the id."""
        if not self.id:
            return
        try:
            work(_client())
        except AWAY as error:
            self.id = ""
            _warn(error)


@contextmanager
def start(name: str, parameters: Mapping[str, object], *, run_id: str = "") -> Iterator[Run]:
    """Start a run with parameters, or resume the run `run_id`.

    Its final status is FINISHED, or FAILED if the block raises.
    """
    run = Run(run_id)
    if run_id:
        run._attempt(lambda client: client.update_run(run_id, status="RUNNING"))
    else:
        _open(run, name, parameters)
    opened = run.id
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    finally:
        run._attempt(lambda c: c.set_terminated(opened, status))


def _open(run: Run, name: str, parameters: Mapping[str, object]) -> None:
    try:
        client = _client()
        run.id = client.create_run(_experiment(client), run_name=name).info.run_id
    except AWAY as error:
        _warn(error)
    run._attempt(lambda c: c.log_batch(run.id, params=[Param(key, str(value)) for key, value in parameters.items()]))


@contextmanager
def join(run_id: str) -> Iterator[Run]:
    """Continue a run that `start` opened, even if it has ended. For an unknown run every call is a no-op."""
    run = Run(run_id)
    run._attempt(lambda client: client.get_run(run_id))
    yield run


def _server() -> str | None:
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def _client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=_server() or f"sqlite:///{LOCAL.resolve()}")


def _experiment(client: mlflow.MlflowClient) -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known:
        return str(known.experiment_id)
    location = None if _server() else ARTIFACTS.resolve().as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))


def _metrics(values: Mapping[str, float | None], step: int, *, model: str | None = None) -> list[Metric]:
    now = int(time.time() * 1000)  # milliseconds, as MLflow counts
    return [Metric(key, float(v), now, step, model_id=model) for key, v in values.items() if v is not None]


def _warn(error: Exception) -> None:
    words = (str(error).splitlines() or [type(error).__name__])[0]
    shown = visible_line(words[:200])
    print(f"warning: MLflow is not available, continuing without tracking: {shown}", file=sys.stderr)
