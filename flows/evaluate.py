"""Prefect flow that evaluates a contestant whose model is finished against other contestants, without training."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import dvc_commands, results
from lima import config
from lima.config import Params
from lima.errors import LimaError


class EvaluationError(LimaError):
    """The evaluations cannot run. The message names the missing entry or result and the fix."""


@flow(name="evaluate")
def evaluate(contestant: str, rivals: list[str] | None = None) -> None:
    """Sample the missing answers and judge them, in all evaluations of a contestant with the chosen rivals.

    Nothing is trained: the selected checkpoint is used as it is, even if its inputs have changed since.

    Args:
        contestant: A contestant of params.yaml whose checkpoint exists.
        rivals: Contestants of params.yaml that it is compared with; empty: all.
    """
    dvc_commands.end_with_worker()
    params = config.load()
    names = chosen(params, contestant, rivals or [])
    sides = {side for name in names for side in (params.evaluations[name].contestant, params.evaluations[name].rival)}
    stages = [*(f"sample@{side}" for side in sorted(sides)), *(f"judge@{name}" for name in names)]
    dvc_commands.repro("--single-item", "code", *stages)
    create_markdown_artifact(results.evaluation_table(params, names), key="evaluations", description="Evaluations")


def chosen(params: Params, contestant: str, rivals: list[str]) -> list[str]:
    """Return the evaluations of a contestant with the rivals.

    Raises:
        EvaluationError: a rival is not compared with the contestant, or a checkpoint is missing.
    """
    for name in (contestant, *rivals):
        config.entry(params.contestants, "contestant", name)
    partners: dict[str, list[str]] = {}
    for name, evaluation in params.evaluations.items():
        sides = (evaluation.contestant, evaluation.rival)
        if contestant in sides:
            partners.setdefault(sides[1 - sides.index(contestant)], []).append(name)
    missing = [rival for rival in rivals or [] if rival not in partners]
    if missing or not partners:
        raise EvaluationError(
            f"contestant {contestant} has no evaluation with {', '.join(missing) or 'any contestant'}; add one to "
            "evaluations in params.yaml"
        )
    wanted = rivals or list(partners)
    for name in (contestant, *wanted):
        entry = params.contestants[name]
        if entry.kind == "arm" and not Path(entry.reads).exists():
            raise EvaluationError(
                f"contestant {name} has no checkpoint: {entry.reads}; run `dvc repro select@{entry.arm}`"
            )
    return [name for rival in wanted for name in partners[rival]]


if __name__ == "__main__":
    raise SystemExit(
        "start this flow by its deployment: prefect deployment run evaluate/evaluate --param contestant=NAME"
    )
