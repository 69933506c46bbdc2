"""Git checkouts of workers: each worker runs the commit of a flow in a clone of its own, with a shared DVC remote."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.states import Failed

from lima.errors import LimaError

CHECKOUT = "LIMA_CHECKOUT"  # folder of the worker's clone; infra/worker.sh sets it
COMMIT = "LIMA_COMMIT"  # commit that a flow run needs; empty: the checkout as it is
RUN_ID = "PREFECT__FLOW_RUN_ID"  # set by a worker for the process of a flow run
REMOTE = "LIMA_DVC_REMOTE"  # address of the shared DVC remote
GENERATED = ("dvc.lock", ".dvc/config.local")  # written by DVC; no input of a stage


class CheckoutError(LimaError):
    """A checkout cannot serve a flow run. The message names the commit or the files, and the fix."""


def prepare() -> dict[str, str]:
    """Pull step of the deployments: enter the worker's clone, at the commit that the flow run needs.

    Raises:
        CheckoutError: the commit is missing, or the clone has uncommitted changes. The flow run has failed with it.
    """
    try:
        return _prepare()
    except CheckoutError as error:
        _fail_run(error)
        raise


def _prepare() -> dict[str, str]:
    folder = Path(os.environ.get(CHECKOUT) or Path.cwd()).resolve()
    if not (folder / "dvc.yaml").exists():
        raise CheckoutError(
            f"not a checkout of this project: {folder}; start the worker with `make worker`, or set {CHECKOUT} to a "
            "clone"
        )
    if commit := os.environ.get(COMMIT, ""):
        switch(folder, commit)
        if remote := os.environ.get(REMOTE, ""):
            share(folder, remote)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    return {"directory": str(folder)}


def _fail_run(error: CheckoutError) -> None:
    """Set the state of this flow run to Failed, with the error as message.

    Prefect marks a run whose pull step raises as crashed, without the reason; it then looks like a lost worker.
    """
    if run_id := os.environ.get(RUN_ID):
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(run_id), Failed(message=str(error)))


def switch(folder: Path, commit: str) -> None:
    """Check out a commit, fetched from `origin` if it is missing. dvc.lock and data/ stay."""
    if head(folder) == commit:
        require_committed(folder)
        return
    require_committed(folder)
    if _git(folder, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        fetched = _git(folder, "fetch", "--quiet", "origin")
        if _git(folder, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
            reason = f" ({fetched.stderr.strip()})" if fetched.returncode else ""
            origin = _git(folder, "remote", "get-url", "origin").stdout.strip() or "no remote origin"
            raise CheckoutError(f"commit not found in {origin}: {commit}{reason}; push it with `git push`")
    switched = _git(folder, "checkout", "--quiet", "--detach", commit)
    if switched.returncode:
        raise CheckoutError(f"cannot check out {commit} in {folder}: {switched.stderr.strip()}; correct the clone")


def share(folder: Path, address: str) -> None:
    """Make a DVC remote the default of this clone."""
    command = [sys.executable, "-m", "dvc", "remote", "add", "--force", "--local", "--default", "lima", address]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)  # noqa: S603 - no shell
    if done.returncode:
        raise CheckoutError(f"cannot use the DVC remote {address}: {done.stderr.strip()}; correct {REMOTE}")


def head(folder: Path = Path()) -> str:
    """Return the commit of a checkout."""
    done = _git(folder, "rev-parse", "HEAD")
    if done.returncode:
        raise CheckoutError(f"not a git checkout with a commit: {folder.resolve()}; clone the project with git")
    return done.stdout.strip()


def require_committed(folder: Path = Path()) -> None:
    """Check that a checkout has no uncommitted changes, which another clone would not get.

    Raises:
        CheckoutError: files are changed or untracked; the message names them.
    """
    status = _git(folder, "status", "--porcelain", "--untracked-files=all").stdout.splitlines()
    changed = [line[3:] for line in status if line[3:] not in GENERATED]
    if changed:
        raise CheckoutError(f"uncommitted changes in {folder.resolve()}: {', '.join(changed)}; commit or remove them")


def require_remote(folder: Path = Path()) -> None:
    """Check that a checkout has a default DVC remote, by which workers get and share results.

    Raises:
        CheckoutError: no default remote is configured.
    """
    command = [sys.executable, "-m", "dvc", "config", "core.remote"]
    if not subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip():  # noqa: S603 - no shell
        raise CheckoutError(
            f"no default DVC remote in {folder.resolve()}; run `dvc remote add -d NAME ADDRESS` and commit .dvc/config,"
            f" or start the worker with {REMOTE}"
        )


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)  # noqa: S603, S607 - no shell
