"""The study of the current checkout: its evaluations, its database and its server."""

import shutil
import socket
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lima import config, locks, storage
from lima.annotation.questions import Question, StudyEvaluation
from lima.annotation.store import Store
from lima.annotation.study import Study, read_annotations, write_annotations
from lima.config import Params
from lima.errors import LimaError
from lima.evaluation import items

FOLDER = storage.WORK / "annotation"
DATABASE = FOLDER / "study.sqlite"


def load_evaluations(params: Params) -> list[StudyEvaluation]:
    """The evaluations whose responses have been sampled."""
    evaluations = []
    for name, evaluation in params.evaluations.items():
        files = [storage.responses(side, evaluation.prompts) for side in (evaluation.contestant, evaluation.rival)]
        prompts = storage.result_dir("prompts") / f"{evaluation.prompts}.jsonl"
        if not all(path.exists() for path in (prompts, *files)):
            continue
        questions = [
            Question(
                name,
                evaluation.task,
                item.prompt.id,
                item.response.sample,
                item.response.turn,
                item.prompt.messages,
                item.response.contestant,
                item.rival.contestant if evaluation.task == "pairwise" else None,
                tuple(response.text for response in item.responses),
            )
            for item in items.read(evaluation, seed=params.judge.seed).items
        ]
        evaluations.append(StudyEvaluation(name, evaluation.task, tuple(questions)))
    return evaluations


@contextmanager
def opened(params: Params, names: Sequence[str] = ()) -> Iterator[Study]:
    """The study with its database, which no other process may use meanwhile; annotations are written at the end.

    Args:
        names: evaluations to include; all if empty.

    Raises:
        LimaError: an unknown name, or an evaluation without sampled responses.
    """
    evaluations = load_evaluations(params)
    for name in names:
        config.entry(params.evaluations, "evaluation", name)
        if name not in {evaluation.name for evaluation in evaluations}:
            raise LimaError(f"no responses for the evaluation {name}; run `dvc repro sample`")
    chosen = [evaluation for evaluation in evaluations if not names or evaluation.name in names]
    with locks.hold(FOLDER / "study.lock", folder=FOLDER):
        store = Store(DATABASE)
        try:
            study = Study(chosen, store, params.annotation)
            read_annotations(study, storage.ANNOTATIONS)
            yield study
            write_annotations(study, storage.ANNOTATIONS)
        finally:
            store.close()


def serve(params: Params, *, names: Sequence[str], host: str, port: int, browser: bool) -> None:
    """Run the server until it is interrupted."""
    import uvicorn

    from lima.annotation.app import create
    from lima.annotation.security import LOOPBACK

    open_access = host in LOOPBACK
    with opened(params, names) as study:
        app = create(study, open_access=open_access, annotations=storage.ANNOTATIONS)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _check_port(host, port)
        if open_access:
            print(f"annotation: {address}/ (this machine only; stop with Ctrl-C)", flush=True)
        else:
            print(
                f"annotation: {address}/ (reachable from other machines)\n"
                f"administrator: {address}/join#{study.store.invite('admin', 'administrator')}\n"
                "invite people on the administration page. The connection is not encrypted: put a proxy with TLS in "
                "front of it, or use a trusted network",
                flush=True,
            )
        if not study.evaluations:
            print("no responses to judge yet; run `dvc repro sample`", file=sys.stderr)
        if browser and open_access and shutil.which("xdg-open"):
            webbrowser.open(f"{address}/")
        uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, server_header=False)


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LimaError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
