"""Repeat the failed requests of contestants and annotators.

DVC does not run a finished stage again, and a failed request is part of its result. Each stage with failures is forced;
its other responses come from the response cache.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import get_args

from lima import jsonl, storage
from lima.config import Params
from lima.config.entries import EndpointAnnotator
from lima.records import Judgment, NoReplyReason, Unanswered

REPEATABLE = set(get_args(NoReplyReason)) - {"too_long"}  # reasons that another attempt can change


def failures(params: Params) -> dict[str, int]:
    """Number of failed requests by DVC stage, such as sample@gpt-4, of the stages that have finished."""
    counts: dict[str, int] = {}
    for contestant in params.contestants:
        path = storage.result_dir("sample", contestant) / "unanswered.jsonl"
        if path.exists():
            counts[f"sample@{contestant}"] = sum(u.reason in REPEATABLE for u in jsonl.read(path, Unanswered))
    for key, evaluation in params.evaluations.items():
        models = [name for name, a in params.panels[evaluation.panel].items() if isinstance(a, EndpointAnnotator)]
        paths = [storage.result_dir("judge", key) / name / "judgments.jsonl" for name in models]
        counts[f"judge@{key}"] = sum(
            reply.value is None and reply.reason in REPEATABLE
            for path in paths
            if path.exists()
            for judgment in jsonl.read(path, Judgment)
            for reply in judgment.replies
        )
    return {stage: count for stage, count in counts.items() if count}


def run(params: Params, *, dry_run: bool, call: Callable[[Sequence[str]], int] = subprocess.call) -> int:
    """Run the stages with failures again, and then the rest of the pipeline. Returns the exit status of DVC.

    Args:
        dry_run: only list the stages.
        call: runs a command and returns its exit status.
    """
    found = failures(params)
    if not found:
        print("no failed requests")
        return 0
    for stage, count in found.items():
        print(f"{stage}: {count:,} failed requests")
    if dry_run:
        return 0
    dvc = [sys.executable, "-m", "dvc", "repro"]
    for stage in found:
        if status := call([*dvc, "--force", "--single-item", stage]):
            return status
    return call(dvc)
