"""Prefect flow of the whole pipeline, one task run per stage and key; `dvc repro` does the same without Prefect."""

from prefect import flow

from flows import dvc_commands, results
from lima import config, storage
from lima.config import profiles


@flow(name="reproduce")
def reproduce(profile: str = "") -> None:
    """Reproduce every stage, with the current params.yaml or a profile.

    Args:
        profile: Name listed by `lima profile list`, which replaces params.yaml; empty: the current params.yaml.
    """
    dvc_commands.end_with_worker()
    if profile:
        profiles.use(profile, force=False)
    params = config.load()
    profiles.check_paths(params)
    profiles.create_annotation_files(params, storage.annotations)
    try:
        dvc_commands.repro()
    except dvc_commands.StageFailed as error:
        results.raise_if_invalid(params.arms, error)
        raise
    results.publish_runs(params)
    results.link_pages(params)
    results.publish_ablations(params)


if __name__ == "__main__":
    reproduce()
