"""The study of the current checkout: its evaluations, its database and its server."""

import shutil
import socket
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from lima import config, jsonl, locks, storage
from lima.annotation.contestant_replies import open_replies
from lima.annotation.conversations import LiveEvaluation, read_openings
from lima.annotation.questions import Question, StudyEvaluation
from lima.annotation.reply_worker import ReplyWorker
from lima.annotation.store import Store
from lima.annotation.study import Study, read_annotations, write_annotations
from lima.config import Params
from lima.config.entries import PeopleAnnotator
from lima.errors import LimaError
from lima.evaluation import items, rules
from lima.evaluation.items import Item
from lima.records import Judgment, Task

FOLDER = storage.WORK / "annotation"
KEEP_ALIVE = 75  # seconds for which an idle connection stays open: longer than most items take
SHUTDOWN = 2  # seconds for which responses that are being streamed may delay the end of the server
DATABASE = FOLDER / "study.sqlite"


def load_evaluations(params: Params, names: Sequence[str] = ()) -> list[StudyEvaluation]:
    """The evaluations whose responses have been sampled.

    Of attacks only those that the rules cannot decide, of constraints only prompts that have one.

    Args:
        names: evaluations to load; if empty those whose panels have people, and if none has, the pairwise ones.
    """
    names = (
        names
        or [name for name in params.evaluations if has_people(params, name)]
        or [name for name, evaluation in params.evaluations.items() if evaluation.task == "pairwise"]
    )
    evaluations = []
    for name in names:
        evaluation = params.evaluations[name]
        if evaluation.prompts == "conversations":
            continue
        needed = [storage.responses(side, evaluation.prompts) for side in (evaluation.contestant, evaluation.rival)]
        needed.append(storage.result_dir("prompts") / f"{evaluation.prompts}.jsonl")
        if not all(path.exists() for path in needed):
            continue
        shown = items.read(evaluation, seed=params.judge.seed).items
        if evaluation.task == "constraint":
            shown = [item for item in shown if item.prompt.constraints]
        if evaluation.task == "attack":
            shown = [item for item in shown if rules.is_undecided(item)]
        questions = tuple(_question(name, evaluation.task, item) for item in shown)
        if questions:
            evaluations.append(StudyEvaluation(name, evaluation.task, questions, _judges(name)))
    return evaluations


def load_live(params: Params, names: Sequence[str] = ()) -> list[LiveEvaluation]:
    """The evaluations whose contestants people talk to.

    Args:
        names: evaluations to load; if empty all whose panels have people.

    Raises:
        LimaError: the file of openings is missing, or a name is given whose contestants cannot reply.
    """
    evaluations = []
    for name, evaluation in params.evaluations.items():
        if evaluation.prompts != "conversations" or name not in (names or params.evaluations):
            continue
        if not names and not has_people(params, name):
            continue
        try:
            open_replies(params, [evaluation.contestant, evaluation.rival])
        except LimaError as error:
            if names:
                raise
            print(f"note: no live conversations of {name}: {error}", file=sys.stderr)
            continue
        openings = read_openings(Path(params.annotation.conversations.openings))
        evaluations.append(LiveEvaluation(name, evaluation.contestant, evaluation.rival, openings))
    return evaluations


def contestants_of(evaluations: Sequence[LiveEvaluation]) -> list[str]:
    """The names of the contestants that people talk to."""
    return list(dict.fromkeys(side for each in evaluations for side in (each.contestant, each.rival)))


def has_people(params: Params, name: str) -> bool:
    """Whether people are in the panel of an evaluation, so that the stage judge reads their annotations."""
    panel = params.panels[params.evaluations[name].panel]
    return any(isinstance(annotator, PeopleAnnotator) for annotator in panel.values())


def _question(name: str, task: Task, item: Item) -> Question:
    response, *others = item.responses
    return Question(
        name,
        task,
        item.prompt.id,
        response.sample,
        response.turn,
        item.prompt.messages,
        response.contestant,
        others[0].contestant if others else None,
        tuple(each.text for each in item.responses),
    )


def _judges(name: str) -> dict[str, dict[tuple[str, int, int, str], str]]:
    """The values of models and baselines in the last run of the stage judge."""
    judges: dict[str, dict[tuple[str, int, int, str], str]] = {}
    for path in sorted(storage.result_dir("judge", name).glob("*/judgments.jsonl")):
        for judgment in jsonl.read(path, Judgment):
            if judgment.person is None and judgment.value is not None:
                position = (judgment.prompt_id, judgment.sample, judgment.turn, judgment.contestant)
                judges.setdefault(judgment.annotator, {})[position] = judgment.value
    return judges


@contextmanager
def opened(params: Params, names: Sequence[str] = ()) -> Iterator[Study]:
    """The study with its database, which no other process may use meanwhile; annotations are written at the end.

    Args:
        names: evaluations to include, see `load_evaluations`.

    Raises:
        LimaError: an unknown name, or an evaluation without sampled responses.
    """
    for name in names:
        config.entry(params.evaluations, "evaluation", name)
    evaluations = load_evaluations(params, names)
    live = {name for name in names if params.evaluations[name].prompts == "conversations"}
    if missing := set(names) - {evaluation.name for evaluation in evaluations} - live:
        raise LimaError(f"no responses for the evaluation {min(missing)}; run `dvc repro sample`")
    with locks.hold(FOLDER / "study.lock", folder=FOLDER):
        store = Store(DATABASE)
        try:
            study = Study(evaluations, store, params.annotation)
            read_annotations(study, storage.ANNOTATIONS)
            yield study
            write_annotations(study, storage.ANNOTATIONS)
        finally:
            store.close()


def serve(params: Params, *, names: Sequence[str], host: str, port: int, browser: bool) -> None:
    """Run the server until it is interrupted."""
    import uvicorn

    from lima.annotation import selection_routes
    from lima.annotation.app import create
    from lima.annotation.security import LOOPBACK

    open_access = host in LOOPBACK
    with opened(params, names) as study:
        live = load_live(params, names)
        source = ReplyWorker(
            partial(open_replies, params, contestants_of(live)), timeout=params.annotation.conversations.timeout
        )
        app = create(study, open_access=open_access, annotations=storage.ANNOTATIONS, live=live, source=source)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        selection_routes.add_routes(app, params, FOLDER)
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
        if not study.evaluations and not live:
            print("no responses to judge yet; run `dvc repro sample`", file=sys.stderr)
        for name in study.evaluations:
            if not has_people(params, name):
                panel = params.evaluations[name].panel
                print(
                    f"note: the stage judge reads annotations of {name} once its panel has people; add "
                    f"`people: {{kind: people}}` to panels.{panel} in params.yaml",
                    file=sys.stderr,
                )
        if browser and open_access and shutil.which("xdg-open"):
            webbrowser.open(f"{address}/")
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=SHUTDOWN,
        )


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LimaError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
