"""Flow runs of single arms on the work pool: started once, followed to their end, never two at the same time."""

import hashlib
import itertools
import os
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect import get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError

from flows import checkout

FLOW = "arm"  # the flow and its deployment
INTERVAL = 5.0  # seconds between two looks at a flow run
T = TypeVar("T")


def unfinished(arm: str, commit: str) -> FlowRun:
    """Return the unfinished flow run of an arm at a commit with this DVC remote; start one if there is none.

    The runs of an arm are numbered; the number is part of the idempotency key, so that flows that ask at the same time,
    and repeated requests, get the same run.
    """
    variables = {checkout.COMMIT: commit}
    if remote := os.environ.get(checkout.REMOTE, ""):
        variables[checkout.REMOTE] = remote
    key = f"{arm}/{commit[:12]}/{hashlib.sha256(remote.encode()).hexdigest()[:8]}"
    with get_client(sync_client=True) as client:
        finished = client.count_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[key]), state=_in_state(*TERMINAL_STATES))
        )
    runs = (
        run_deployment(
            f"{FLOW}/{FLOW}",
            parameters={"arm": arm},
            timeout=0,
            job_variables={"env": variables},
            tags=[key],
            idempotency_key=f"{key}/{number}",
        )
        for number in itertools.count(finished)  # a run that was deleted is not counted: its number is given again
    )
    return next(run for run in runs if isinstance(run, FlowRun) and not (run.state and run.state.is_final()))


def wait_for_earlier(arm: str) -> None:
    """Wait for runs of this flow that have the same arm and DVC remote and started earlier.

    Their results are then in the remote; two runs at the same time would both train.
    """
    waiting: set[str] = set()
    with get_client(sync_client=True) as client:
        this = _answer(lambda: client.read_flow_run(runtime.flow_run.id))

        def active() -> list[FlowRun]:
            return client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
                flow_run_filter=FlowRunFilter(state=_in_state(StateType.RUNNING, StateType.CANCELLING)),
            )

        while earlier := {
            str(run.id) for run in _answer(active) if _same_arm(run, this) and _started(run) < _started(this)
        }:
            if earlier - waiting:
                get_run_logger().info(
                    "arm %s is already running; waiting for flow run %s (if its worker is lost: `prefect flow-run "
                    "cancel ID`)",
                    arm,
                    ", ".join(sorted(earlier)),
                )
            waiting |= earlier
            time.sleep(INTERVAL)


def final_state(run: FlowRun) -> State[object]:
    """Wait until a flow run ends; a server that does not answer is asked again."""
    state = run.state
    with get_client(sync_client=True) as client:
        while state is None or not state.is_final():
            time.sleep(INTERVAL)
            state = _answer(lambda: client.read_flow_run(run.id)).state
    return state


def _answer(request: Callable[[], T]) -> T:
    """Send a request until the server answers it."""
    while True:
        try:
            return request()
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            if isinstance(error, PrefectHTTPStatusError) and error.response.status_code < 500:
                raise
            get_run_logger().warning("Prefect's server does not answer, asking again: %s", error)
            time.sleep(INTERVAL)


def _same_arm(run: FlowRun, other: FlowRun) -> bool:
    def identity(run: FlowRun) -> tuple[object, object]:
        return run.parameters.get("arm"), (run.job_variables or {}).get("env", {}).get(checkout.REMOTE)

    return identity(run) == identity(other)


def _started(run: FlowRun) -> tuple[float, str]:
    return (run.start_time.timestamp() if run.start_time else float("inf")), str(run.id)


def _in_state(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
