"""Prefect flow that scrapes a source, one task run per part; `dvc repro scrape` does the same without Prefect."""

from concurrent.futures import Future

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from flows import dvc_commands
from lima import config, storage
from lima.display import visible_line
from lima.errors import LimaError
from lima.parallel.jobs import Reply, Restarted, Started
from lima.stages import scrape as stage


@task(cache_policy=NO_CACHE)
def part(reply: Future[Reply]) -> None:
    """Wait for a part that a worker reads, in the process pool or on Ray; fails if the part fails."""
    result = reply.result()
    if result.error:
        raise LimaError(result.error)


@flow(name="scrape", log_prints=True)
def scrape(source: str) -> None:
    """Read the parts of a source that are not cached, publish the result and commit it to DVC as `scrape@SOURCE`."""
    dvc_commands.end_with_worker()
    with storage.exclusive("scrape", source):
        params = config.load()
        jobs = stage.plan(source, params)
        replies: list[Future[Reply]] = [Future() for _ in jobs]
        shown: dict[int, PrefectFuture[None]] = {}
        try:
            for event in stage.run(jobs, params):
                name = visible_line(jobs[event.job].part.name)
                if isinstance(event, Restarted):
                    get_run_logger().warning("%s is retried: its worker was killed %s", name, event.why)
                elif not isinstance(event, Started):
                    replies[event.job].set_result(event.reply)
                elif event.job not in shown:
                    shown[event.job] = part.with_options(task_run_name=name).submit(replies[event.job])
        finally:
            for reply in replies:
                reply.cancel()  # no effect on finished ones
            for run in shown.values():
                run.wait()
        stage.publish(jobs, [reply.result() for reply in replies], params)
    for line in dvc_commands.output("repro", "code"):  # the digests of modules that the commit records
        get_run_logger().info("%s", line)
    dvc_commands.commit(f"scrape@{source}")
