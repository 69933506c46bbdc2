"""Prefect flows that train several arms, here or on a work pool, and compare them (LIMA §5)."""

import time
from collections.abc import Iterable
from functools import partial

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from flows import arm_runs, checkout, dvc_commands, results
from lima import config
from lima.config import Params, profiles
from lima.config.entries import ArmContestant
from lima.errors import LimaError

LOST_WORKERS = 2  # times that an arm is started again after its worker was lost


class ArmsFailed(LimaError):
    """Some arms failed; the others are finished and compared."""


@flow(name="ablations")
def ablations(arms: list[str] | None = None, on_work_pool: bool = False) -> None:
    """Train and select arms, sample their contestants, judge and report. An arm that fails does not stop the others.

    Args:
        arms: Arms of params.yaml; empty: all.
        on_work_pool: Run each arm on a worker of the pool `arms`, which has a clone of its own. Needs a commit without
            changes and a DVC remote. False: run the arms one after another in this checkout.
    """
    dvc_commands.end_with_worker()
    params = config.load()
    profiles.check_paths(params)
    names = arms or list(params.arms)
    for name in names:
        config.entry(params.arms, "arm", name)
    if on_work_pool:
        checkout.require_committed()
        checkout.require_remote()
    validate(names)
    if on_work_pool:
        push()
        failed = follow_arms(names, checkout.head())
    else:
        failed = run_arms(params, names)
    results.link_pages(params)
    finish(params, names, failed, pull=on_work_pool)
    results.publish_runs(params)
    results.link_pages(params)
    if failed:
        raise ArmsFailed(
            f"{len(failed)} of {len(names)} arms failed: {', '.join(failed)}; see their task runs, then run the flow "
            "again: finished arms are not repeated"
        )


@flow(name=arm_runs.FLOW, flow_run_name="{arm}")
def arm(arm: str) -> None:
    """Train and select one arm and sample its contestants, in a worker's clone; share the results by the DVC remote.

    Args:
        arm: An arm of params.yaml.
    """
    dvc_commands.end_with_worker()
    params = config.load()
    config.entry(params.arms, "arm", arm)
    arm_runs.wait_for_earlier(arm)
    for address in stages(params, arm):
        dvc_commands.repeated(partial(dvc_commands.repro, "--pull", address))
        push(address)


def stages(params: Params, arm: str) -> list[str]:
    """Return the stages of one arm after validation."""
    contestants = [name for name, c in params.contestants.items() if isinstance(c, ArmContestant) and c.arm == arm]
    return [f"train@{arm}", f"select@{arm}", *(f"sample@{name}" for name in contestants)]


def validate(arms: Iterable[str]) -> None:
    """Build and validate the training sets of all arms, before any is trained.

    Raises:
        ValidationFailed: a training set is invalid; the message names the rows.
    """
    names = list(arms)
    try:
        dvc_commands.repro(*(f"validate@{name}" for name in names))
    except dvc_commands.StageFailed as error:
        results.raise_if_invalid(names, error)
        raise


def push(*addresses: str) -> None:
    """Share results and the run cache by the DVC remote; both are needed, so that no other clone repeats a stage.

    Raises:
        StageFailed: the remote cannot be written.
    """
    try:
        for words in (("push", *addresses), ("push", "--run-cache", *addresses)):
            dvc_commands.repeated(partial(dvc_commands.log, *words))
    except dvc_commands.StageFailed as error:
        raise dvc_commands.StageFailed(
            f"results are not shared: {error}\ncorrect the address, permissions or free space of the DVC remote and "
            "start the flow again; finished stages stay in this checkout"
        ) from error


def run_arms(params: Params, arms: Iterable[str]) -> list[str]:
    """Run the arms in this checkout, one after another; return those that failed."""
    states = dict.fromkeys(arms, "waiting")
    for name in states:
        states[name] = "running"
        show_progress(states)
        reached = dvc_commands.repro("--keep-going", *stages(params, name))
        states[name] = "failed" if {"failed", "skipped"} & set(reached.values()) else "completed"
    show_progress(states)
    return [name for name, state in states.items() if state == "failed"]


@task(cache_policy=NO_CACHE)
def follow(arm: str, commit: str) -> str:
    """Run an arm on the work pool and wait for its end; return the name of its final state.

    If another flow runs the arm at this commit already, follow its run.
    """
    for lost in range(LOST_WORKERS + 1):
        run = arm_runs.unfinished(arm, commit)
        get_run_logger().info("arm %s: flow run %s", arm, run.id)
        state = arm_runs.final_state(run)
        if not state.is_crashed() or lost == LOST_WORKERS:
            break
        get_run_logger().warning(
            "arm %s lost its worker (%s); it is started again on the next free worker, where finished stages are "
            "restored and the stage that was lost starts from its beginning",
            arm,
            state.message or "crashed",
        )
    if not state.is_completed():
        raise dvc_commands.StageFailed(f"arm {arm} ended as {state.name}: {state.message or 'see its flow run'}")
    return state.name or "Completed"


def follow_arms(arms: Iterable[str], commit: str) -> list[str]:
    """Fan the arms out to the work pool; return those that failed."""
    runs: dict[str, PrefectFuture[str]] = {
        name: follow.with_options(task_run_name=name).submit(name, commit) for name in arms
    }
    states = dict.fromkeys(runs, "running")
    waiting = dict(runs)
    show_progress(states)
    while waiting:
        ended = {name: run for name, run in waiting.items() if run.state.is_final()}
        for name, run in ended.items():
            states[name] = "completed" if run.state.is_completed() else "failed"
            del waiting[name]
        if ended:
            show_progress(states)
        time.sleep(0 if not waiting else arm_runs.INTERVAL)
    return [name for name, state in states.items() if state == "failed"]


def show_progress(states: dict[str, str]) -> None:
    create_markdown_artifact(results.progress(states), key="arms", description="State of each arm")


def finish(params: Params, arms: Iterable[str], failed: list[str], *, pull: bool) -> None:
    """Judge and report. Without some arm of params.yaml: judge what does not concern it; the report needs all arms."""
    options = ["--pull"] if pull else []
    finished = set(arms) - set(failed)
    if finished == set(params.arms):
        dvc_commands.repro(*options)
    elif judged := judgeable(params, finished):
        dvc_commands.repro(*options, "--keep-going", *(f"judge@{name}" for name in judged))
    results.publish_ablations(params)


def judgeable(params: Params, finished: set[str]) -> list[str]:
    """Return the evaluations of which no contestant is an arm that is not finished."""
    ready = {
        name
        for name, contestant in params.contestants.items()
        if not isinstance(contestant, ArmContestant) or contestant.arm in finished
    }
    return [name for name, e in params.evaluations.items() if {e.contestant, e.rival} <= ready]
