"""The whole pipeline as a Prefect flow, a task run a stage; `dvc repro` without Prefect does the same."""

from prefect import flow

from flows.dvc import repro, stages
from lima import config
from lima.config import profiles


@flow(name="reproduce")
def reproduce(profile: str = "") -> None:
    """Bring every stage up to date, in dvc.yaml's order, under the present params.yaml or a profile."""
    if profile:
        profiles.use(profile, force=False)
    profiles.check_paths(config.load())
    for stage in stages():
        repro.with_options(name=stage, task_run_name=stage)(stage)


if __name__ == "__main__":
    reproduce()
