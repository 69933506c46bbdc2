"""A small study and a server for it, used by several tests."""

import asyncio
import contextlib
import sys
import threading
import time
from pathlib import Path

import uvicorn
from ruamel.yaml import YAML

from lima.annotation.app import create
from lima.annotation.conversations import LiveEvaluation
from lima.annotation.questions import Question, StudyEvaluation
from lima.annotation.store import Store, Submitted
from lima.annotation.study import Study
from lima.config.tools import AnnotationSettings
from lima.records import Turn

ROOT = Path(__file__).parents[2]
NAMES = ("zebra-system", "quokka-system")  # contestants, distinctive so that a page can be searched for them


def settings(**changes) -> AnnotationSettings:
    values = YAML(typ="safe").load(ROOT / "params.yaml")["annotation"]
    return AnnotationSettings.model_validate({**values, **changes})


def question(number: int, *, task="pairwise", evaluation="secret-evaluation", texts=None) -> Question:
    texts = texts or (f"First text {number}\n\nmore of it", f"Second text {number}\n\nmore of it")
    return Question(
        evaluation,
        task,
        f"source/site/{number}",
        0,
        0,
        (Turn(role="user", content=f"Prompt {number}?"),),
        NAMES[0],
        NAMES[1] if task == "pairwise" else None,
        texts if task == "pairwise" else texts[:1],
    )


def evaluation(count: int, *, task="pairwise", name="secret-evaluation") -> StudyEvaluation:
    return StudyEvaluation(name, task, tuple(question(n, task=task, evaluation=name) for n in range(count)))


def study(folder: Path, *evaluations: StudyEvaluation, **changes) -> Study:
    return Study(evaluations or (evaluation(6),), Store(folder / "study.sqlite"), settings(**changes))


PLAIN = {"comprehension": False, "attention_every": 0, "repeat_every": 0}  # items only


OPENINGS = {"opening-1": "How do I start a garden?", "opening-2": "What is **rust**?", "opening-3": "Third?"}


def live(name="secret-talk") -> LiveEvaluation:
    return LiveEvaluation(name, *NAMES, OPENINGS)


class ScriptedReplies:
    """A source of replies: each call takes the next script, a text or an exception; then the default."""

    def __init__(self, *scripts, default="A **clear** answer about the subject.", pause=0.0):
        self.scripts = list(scripts)
        self.default = default
        self.pause = pause
        self.asked = []  # contestant, contents of the turns, sample

    async def reply(self, contestant, messages, conversation, sample):
        self.asked.append((contestant, [turn.content for turn in messages], sample))
        script = self.scripts.pop(0) if self.scripts else self.default
        if isinstance(script, Exception):
            yield "partial "
            raise script
        for word in script.split(" "):
            if self.pause:
                await asyncio.sleep(self.pause)
            yield f"{word} "

    def close(self):
        pass


@contextlib.contextmanager
def serving(study: Study, folder: Path, *, open_access=True, live=(), source=None, extend=None):
    """The address of a running server; `extend` adds routes to its application."""
    app = create(study, open_access=open_access, annotations=folder / "annotations", live=live, source=source)
    if extend:
        extend(app)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 300
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def judge(study, person, assignment, value, *, request=None, version=0, reason="", seconds=6.0):
    request = request or f"request-{assignment.id}-{version}"
    return study.judge(person, assignment, Submitted(version, request, value, reason, seconds=seconds))


def main(folder: Path, endless: str = "") -> None:
    """Serve a study of 200 items and conversations in a process of its own, until it is killed; print the address.

    With a second word, the answer after three others does not end.
    """
    rules = {**settings().conversations.model_dump(), "per_person": 6}
    answer = "a b c d e"
    source = ScriptedReplies(*([answer] * 3 + ["on and on " * 10**5] if endless else []), default=answer, pause=0.05)
    made = study(folder, evaluation(200), **PLAIN, quota=200, conversations=rules)
    with serving(made, folder, live=[live()], source=source) as address:
        print(address, flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
