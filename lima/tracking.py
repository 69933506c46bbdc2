"""MLflow as a view of what the stages write; the only importer of mlflow.

A run an arm: `start` opens it, `join` continues it. A server that is away costs one warning, never a stage: the run's
id is then "", and what is logged to it goes nowhere.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# long enough for a busy server, short enough for one that is away; what the user sets wins
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

import mlflow  # after the variables, which it reads
from mlflow.entities import LoggedModelStatus, Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from lima.display import visible_line

EXPERIMENT = "lima"
LOCAL = Path("mlflow.db")  # where MLFLOW_TRACKING_URI names no other store
ARTIFACTS = Path("mlartifacts")
# a refusal, a lost connection (requests' errors are OSErrors), a full disk, a database that is locked, torn or away
AWAY = (MlflowException, OSError, SQLAlchemyError)


class Run:
    """One arm's run; with an empty id it takes everything and keeps nothing."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id

    def metrics(self, values: Mapping[str, float | None], *, step: int) -> None:
        """Log numbers at an optimizer step; None, a figure that does not exist, is left out."""
        self._attempt(lambda client: client.log_batch(self.id, metrics=_metrics(values, step)))

    def checkpoint(self, epoch: int, folder: Path, scores: Mapping[str, float]) -> None:
        """An epoch's checkpoint as a logged model with its scores; a second call adds scores to the same model."""

        def log(client: mlflow.MlflowClient) -> None:
            model = self._model(client, epoch, folder)
            client.log_batch(self.id, metrics=_metrics(scores, epoch, model=model))

        self._attempt(log)

    def last_step(self, key: str) -> int:
        """The last step for which a metric was logged; 0 where none was."""
        steps = [0]
        self._attempt(lambda c: steps.extend(metric.step for metric in c.get_metric_history(self.id, key)))
        return max(steps)

    def artifact(self, path: Path) -> None:
        self._attempt(lambda client: client.log_artifact(self.id, str(path)))

    def _model(self, client: mlflow.MlflowClient, epoch: int, folder: Path) -> str:
        name, place = f"epoch-{epoch:02}", client.get_run(self.id).info.experiment_id
        these = f"source_run_id = '{self.id}' AND name = '{name}'"
        for known in client.search_logged_models([place], filter_string=these):
            return str(known.model_id)
        tags = {"folder": str(folder)}
        model = client.create_logged_model(place, name=name, source_run_id=self.id, model_type="checkpoint", tags=tags)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return str(model.model_id)

    def _attempt(self, work: Callable[[mlflow.MlflowClient], object]) -> None:
        """Do the work where there is a run; give the run up, with one warning, where MLflow does not take it."""
        if not self.id:
            return
        try:
            work(_client())
        except AWAY as error:
            self.id = ""
            _warn(error)


@contextmanager
def start(name: str, parameters: Mapping[str, object], *, run_id: str = "") -> Iterator[Run]:
    """A new run with its parameters, or the earlier one `run_id` going on.

    Finished when the block ends well, failed when it does not.
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
    """The run that `start` opened, also after it ended; one that this store does not know takes nothing."""
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
    print(f"warning: MLflow does not take this run, and the work goes on without it: {shown}", file=sys.stderr)
