"""Scraping one source as a Prefect flow, a task run a part; `dvc repro scrape` without Prefect does the same."""

from concurrent.futures import Future

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from flows import dvc
from lima import config, storage
from lima.display import visible_line
from lima.errors import LimaError
from lima.parallel.jobs import Reply, Restarted, Started
from lima.stages import scrape as stage


@task(cache_policy=NO_CACHE)
def part(reply: Future[Reply]) -> None:
    """Lasts as long as a worker is at the part, and fails with it; the worker is the stage's own, or Ray's."""
    found = reply.result()
    if found.error:
        raise LimaError(found.error)


@flow(name="scrape", log_prints=True)
def scrape(source: str) -> None:
    """Read what is not kept yet of a source's parts, publish the result, and have DVC take it for `scrape@SOURCE`."""
    with storage.exclusive("scrape", source):
        p = config.load()
        jobs = stage.plan(source, p)
        replies: list[Future[Reply]] = [Future() for _ in jobs]
        shown: dict[int, PrefectFuture[None]] = {}
        try:
            for event in stage.run(jobs, p):
                name = visible_line(jobs[event.job].part.name)
                if isinstance(event, Restarted):
                    get_run_logger().warning("%s is done again, its worker was killed %s", name, event.why)
                elif not isinstance(event, Started):
                    replies[event.job].set_result(event.reply)
                elif event.job not in shown:
                    shown[event.job] = part.with_options(task_run_name=name).submit(replies[event.job])
        finally:
            for reply in replies:
                reply.cancel()  # of those that have none: nothing waits for them any more
            for run in shown.values():
                run.wait()
        stage.publish(jobs, [reply.result() for reply in replies], p)
    dvc.commit(f"scrape@{source}")
