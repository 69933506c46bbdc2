"""Prefect flow of the whole pipeline, with one task run per stage; `dvc repro` does the same without Prefect."""

from prefect import flow

from flows.dvc import end_with_worker, repro, stages
from lima import config
from lima.config import profiles


@flow(name="reproduce")
def reproduce(profile: str = "") -> None:
    """Reproduce every stage in the order of dvc.yaml, with the current params.yaml or a profile."""
    end_with_worker()
    if profile:
        profiles.use(profile, force=False)
    profiles.check_paths(config.load())
    for stage in stages():
        repro.with_options(name=stage, task_run_name=stage)(stage)


if __name__ == "__main__":
    reproduce()
