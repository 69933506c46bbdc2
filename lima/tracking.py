"""Experiment tracking with MLflow; the only module that imports mlflow.

Each arm has one run: `start` opens it, `join` continues it. If MLflow is not available, one warning is printed and the
stage continues: the run's id becomes "", and every later call is a no-op. With `required=True` a TrackingError is
raised instead.

Without MLFLOW_TRACKING_URI the store is LOCAL, and artifacts are files below ARTIFACTS. The store has their location as
`mlflow-artifacts:/…`, which a server resolves below its --artifacts-destination, so that a checkout can be moved.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# long enough for a busy server, short enough for an unreachable one; values that the user set take precedence
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

import mlflow  # reads the variables set above
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunInfo,
    RunTag,
)
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from lima.display import visible_line
from lima.errors import LimaError, Stopped

EXPERIMENT = "lima"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's pages then show models and training runs
LOCAL = Path("mlflow.db")  # the default store, without MLFLOW_TRACKING_URI
ARTIFACTS = Path("mlartifacts")
SCHEME = "mlflow-artifacts:/"
RUN_TAG = "lima.run"  # id that the training run has in run.json; a run that is published again has another id in MLflow
FINISHED = "FINISHED"  # final status of a run, as MLflow names it
BATCH = 1000  # metrics per request, MLflow's limit
DIGEST_CHARS = 36  # of a dataset's digest, MLflow's limit
# a rejected request, a lost connection (requests' errors are OSErrors), a full disk, a locked or broken database
AWAY = (MlflowException, OSError, SQLAlchemyError)


class TrackingError(LimaError):
    """MLflow is not available, or it rejected a request."""


@dataclass(frozen=True)
class Value:
    """A metric at an optimizer step or an epoch."""

    key: str
    value: float
    step: int
    time: int  # milliseconds since 1970


@dataclass(frozen=True)
class LoggedDataset:
    """A file that a run reads."""

    name: str
    path: Path
    digest: str  # SHA-256, hexadecimal
    rows: int
    context: str  # train, held_out or test


class Run:
    """An MLflow run. With an empty id every call is a no-op."""

    def __init__(self, run_id: str, *, required: bool = False) -> None:
        self.id = run_id
        self._required = required

    def metrics(self, values: Mapping[str, float | None], *, step: int, time: int | None = None) -> None:
        """Log metrics at a step; None values are skipped. `time` is in milliseconds since 1970, by default now."""
        self._attempt(lambda client: client.log_batch(self.id, metrics=_metrics(values, step, time=time)))

    def history(self, values: Sequence[Value]) -> None:
        """Log the metrics that the run does not have yet at their step with their value."""

        def log(client: mlflow.MlflowClient) -> None:
            known = {
                (key, metric.step, metric.value)
                for key in dict.fromkeys(value.key for value in values)
                for metric in client.get_metric_history(self.id, key)
            }
            missing = [v for v in values if (v.key, v.step, v.value) not in known]
            for first in range(0, len(missing), BATCH):
                batch = [Metric(v.key, v.value, v.time, v.step) for v in missing[first : first + BATCH]]
                client.log_batch(self.id, metrics=batch)

        self._attempt(log)

    def update(self, values: Mapping[str, float]) -> None:
        """Log the metrics whose latest value differs, at step 0."""

        def log(client: mlflow.MlflowClient) -> None:
            latest = client.get_run(self.id).data.metrics
            changed = {key: value for key, value in values.items() if latest.get(key) != float(value)}
            client.log_batch(self.id, metrics=_metrics(changed, 0))

        self._attempt(log)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; existing ones are replaced."""
        tags = [RunTag(key, value) for key, value in values.items()]
        self._attempt(lambda client: client.log_batch(self.id, tags=tags))

    def datasets(self, files: Iterable[LoggedDataset]) -> None:
        """Log files as inputs of the run; known ones are not repeated."""

        def log(client: mlflow.MlflowClient) -> None:
            run = client.get_run(self.id)
            inputs = run.inputs.dataset_inputs if run.inputs else []
            known = {(each.dataset.name, each.dataset.digest) for each in inputs}
            missing = [
                DatasetInput(
                    Dataset(
                        name=file.name,
                        digest=file.digest[:DIGEST_CHARS],
                        source_type="local",
                        source=json.dumps({"uri": str(file.path), "sha256": file.digest}),
                        profile=json.dumps({"num_rows": file.rows}),
                    ),
                    tags=[InputTag("mlflow.data.context", file.context)],
                )
                for file in files
                if (file.name, file.digest[:DIGEST_CHARS]) not in known
            ]
            if missing:
                client.log_inputs(self.id, datasets=missing)

        self._attempt(log)

    def checkpoint(
        self, epoch: int, folder: Path, scores: Mapping[str, float], *, digest: str = "", time: int | None = None
    ) -> None:
        """Log an epoch's checkpoint as a model with scores; a second call adds scores to the same model."""

        def log(client: mlflow.MlflowClient) -> None:
            model = self._model(client, epoch, folder, digest)
            known = {(metric.key, metric.value) for metric in model.metrics or []}
            fresh = {key: value for key, value in scores.items() if (key, float(value)) not in known}
            client.log_batch(self.id, metrics=_metrics(fresh, epoch, model=model.model_id, time=time))

        self._attempt(log)

    def register(self, epoch: int, folder: Path, *, name: str, alias: str) -> None:
        """Register an epoch's checkpoint as a version of a model, and point the alias to it."""

        def log(client: mlflow.MlflowClient) -> None:
            model = self._model(client, epoch, folder, "")
            if not client.search_registered_models(filter_string=f"name = '{name}'"):
                client.create_registered_model(name)
            versions = client.search_model_versions(f"name = '{name}'")
            version = next((each.version for each in versions if each.tags.get("model_id") == model.model_id), None)
            if version is None:
                created = client.create_model_version(
                    name,
                    source=f"models:/{model.model_id}",
                    run_id=self.id,
                    model_id=model.model_id,
                    tags={"model_id": model.model_id, "epoch": str(epoch), "folder": str(folder)},
                )
                version = created.version
            client.set_registered_model_alias(name, alias, version)

        self._attempt(log)

    def last_step(self, key: str) -> int:
        """Return the last step with a value of a metric; 0 if there is none."""
        steps = [0]
        self._attempt(lambda c: steps.extend(metric.step for metric in c.get_metric_history(self.id, key)))
        return max(steps)

    def artifact(self, path: Path) -> None:
        """Upload a file."""

        def upload(client: mlflow.MlflowClient) -> None:
            uri = client.get_run(self.id).info.artifact_uri
            if _server() or not uri.startswith(SCHEME):
                client.log_artifact(self.id, str(path))
                return
            folder = ARTIFACTS / uri.removeprefix(SCHEME).lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.name)

        self._attempt(upload)

    def _model(self, client: mlflow.MlflowClient, epoch: int, folder: Path, digest: str) -> LoggedModel:
        name, experiment = f"epoch-{epoch:02}", client.get_run(self.id).info.experiment_id
        condition = f"source_run_id = '{self.id}' AND name = '{name}'"
        for known in client.search_logged_models([experiment], filter_string=condition):
            return known
        tags = {"folder": str(folder), **({"sha256": digest} if digest else {})}
        model = client.create_logged_model(
            experiment, name=name, source_run_id=self.id, model_type="checkpoint", tags=tags
        )
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        client.log_outputs(self.id, [LoggedModelOutput(model.model_id, epoch)])
        return model

    def _attempt(self, work: Callable[[mlflow.MlflowClient], object]) -> None:
        """Call `work` unless the id is empty; on an error print a warning and empty the id, or raise."""
        if not self.id:
            return
        try:
            work(_client())
        except AWAY as error:
            self.id = ""
            _fail(error, required=self._required)


@contextmanager
def start(
    name: str,
    parameters: Mapping[str, object],
    *,
    tags: Mapping[str, str] | None = None,
    run_id: str = "",
    started: int | None = None,
) -> Iterator[Run]:
    """Start a run with parameters and tags, or resume the run `run_id`.

    Its final status is FINISHED; KILLED if the work is stopped on request; FAILED if the block raises otherwise.
    `started` is in milliseconds since 1970.
    """
    run = Run(run_id)
    if run_id:
        run._attempt(lambda client: client.update_run(run_id, status="RUNNING"))
    else:
        _open(run, name, parameters, tags or {}, started)
        run.tags({RUN_TAG: run.id})
    opened = run.id
    status = FINISHED
    try:
        yield run
    except (Stopped, KeyboardInterrupt):
        status = "KILLED"
        raise
    except BaseException:
        status = "FAILED"
        raise
    finally:
        run._attempt(lambda c: c.set_terminated(opened, status))


def _open(
    run: Run, name: str, parameters: Mapping[str, object], tags: Mapping[str, str], started: int | None = None
) -> None:
    try:
        client = _client()
        created = client.create_run(_experiment(client), run_name=name, tags=dict(tags), start_time=started)
        run.id = created.info.run_id
    except AWAY as error:
        _fail(error, required=run._required)
    run._attempt(lambda c: c.log_batch(run.id, params=[Param(key, str(value)) for key, value in parameters.items()]))


@contextmanager
def join(run_id: str) -> Iterator[Run]:
    """Continue a run that `start` opened, even if it has ended. For an unknown run every call is a no-op."""
    run = Run(run_id)

    def locate(client: mlflow.MlflowClient) -> None:
        run.id = (_find(client, run_id) or client.get_run(run_id).info).run_id

    run._attempt(locate)
    yield run


def publish(
    name: str, parameters: Mapping[str, object], *, tags: Mapping[str, str], identity: str, started: int, ended: int
) -> Run:
    """Return the run with the tag RUN_TAG or the id `identity`, as finished; create it if it is missing.

    Raises:
        TrackingError: MLflow is not available.
    """
    run = Run("", required=True)
    known = find(identity)
    if known:
        run.id = known.run_id
    else:
        _open(run, name, parameters, {**tags, RUN_TAG: identity}, started)
    if not known or known.status != FINISHED:
        opened = run.id
        run._attempt(lambda client: client.set_terminated(opened, FINISHED, end_time=ended))
    return run


def find(identity: str) -> RunInfo | None:
    """Return the run that is, or republishes, the run `identity`; None if MLflow has none.

    Raises:
        TrackingError: MLflow is not available.
    """
    try:
        return _find(_client(), identity)
    except AWAY as error:
        _fail(error, required=True)
        raise AssertionError from error  # _fail raises if required


def _find(client: mlflow.MlflowClient, identity: str) -> RunInfo | None:
    try:
        run = client.get_run(identity)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    else:
        if run.info.lifecycle_stage == "active":
            return run.info
    if not (experiment := client.get_experiment_by_name(EXPERIMENT)):
        return None
    condition = f"tags.`{RUN_TAG}` = '{identity}'"
    runs = client.search_runs([experiment.experiment_id], filter_string=condition, max_results=1)
    return runs[0].info if runs else None


def page(run_id: str) -> str | None:
    """Address of a run's page on the MLflow server; None without a server, or if it does not know the run."""
    server = _server()
    if not run_id or not server or not server.startswith(("http://", "https://")):
        return None
    pages: list[str] = []

    def locate(client: mlflow.MlflowClient) -> None:
        info = _find(client, run_id) or client.get_run(run_id).info
        pages.append(f"{server.rstrip('/')}/#/experiments/{info.experiment_id}/runs/{info.run_id}")

    Run(run_id)._attempt(locate)
    return pages[0] if pages else None


def location() -> str:
    """Where runs are logged: the server's address, or the local file."""
    return _server() or str(LOCAL)


def _server() -> str | None:
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def _client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=_server() or f"sqlite:///{LOCAL.resolve()}")


def _experiment(client: mlflow.MlflowClient) -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known:
        for key, value in KIND.items():
            if known.tags.get(key) != value:
                client.set_experiment_tag(known.experiment_id, key, value)
        return str(known.experiment_id)
    location = None if _server() else f"{SCHEME}{EXPERIMENT}"
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=location, tags=KIND))
    except MlflowException:
        known = client.get_experiment_by_name(EXPERIMENT)  # another arm created it meanwhile
        if not known:
            raise
        return str(known.experiment_id)


def _metrics(
    values: Mapping[str, float | None], step: int, *, model: str | None = None, time: int | None = None
) -> list[Metric]:
    at = now() if time is None else time
    return [Metric(key, float(v), at, step, model_id=model) for key, v in values.items() if v is not None]


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def _fail(error: Exception, *, required: bool) -> None:
    words = (str(error).splitlines() or [type(error).__name__])[0]
    shown = visible_line(words[:200])
    if required:
        raise TrackingError(
            f"MLflow at {location()} is not available: {shown}; start it, or correct MLFLOW_TRACKING_URI"
        ) from error
    print(f"warning: MLflow is not available, continuing without tracking: {shown}", file=sys.stderr)
