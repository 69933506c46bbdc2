"""Items of evaluations as people judge them, and the possible values of each task (LIMA §4)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

from pydantic import TypeAdapter
from ruamel.yaml import YAML

from lima.records import Task, Turn

Kind = Literal["main", "attention", "repeat", "adjudication"]
SKIP_REASONS = {
    "knowledge": "I do not know the subject well enough",
    "unreadable": "A text is broken or not in my language",
    "distressing": "I do not want to read this text",
    "unclear": "The prompt or the question is unclear",
    "other": "Another reason (add a comment)",
}


@dataclass(frozen=True)
class Choice:
    """One possible answer of a person, with its key on the keyboard."""

    key: str
    value: str  # pairwise: "first", "second" or "tie", as shown; other tasks: a value of the task
    label: str
    definition: str


@dataclass(frozen=True)
class Control:
    """What a person is asked about an item of a task."""

    title: str
    question: str
    choices: tuple[Choice, ...]

    def values(self) -> tuple[str, ...]:
        return tuple(choice.value for choice in self.choices)


def _controls() -> Mapping[Task, Control]:
    text = files("lima.annotation").joinpath("controls.yaml").read_text(encoding="utf-8")
    controls = TypeAdapter(dict[Task, Control]).validate_python(YAML(typ="safe").load(text))
    return MappingProxyType(controls)


CONTROLS = _controls()


@dataclass(frozen=True)
class Question:
    """An item of an evaluation: a prompt with one response, or with two."""

    evaluation: str
    task: Task
    prompt_id: str
    sample: int
    turn: int
    messages: tuple[Turn, ...]  # up to the judged response
    contestant: str
    rival: str | None  # pairwise only
    texts: tuple[str, ...]  # the contestant's response, then the rival's

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the judged texts, joined with NUL; a change makes earlier annotations stale."""
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()

    @cached_property
    def id(self) -> str:
        """Identifies the item with its texts; never sent to a browser."""
        return question_id(
            self.evaluation, self.prompt_id, self.sample, self.turn, self.contestant, self.rival, self.digest
        )


def question_id(
    evaluation: str, prompt_id: str, sample: int, turn: int, contestant: str, rival: str | None, digest: str
) -> str:
    parts = (evaluation, prompt_id, str(sample), str(turn), contestant, rival or "", digest)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class StudyEvaluation:
    """An evaluation that people take part in."""

    name: str
    task: Task
    questions: tuple[Question, ...]
    judges: Mapping[str, Mapping[tuple[str, int, int, str], str]] = field(default_factory=dict)
    """Values of models and baselines: annotator → (prompt, sample, turn, contestant) → value."""

    @cached_property
    def by_id(self) -> dict[str, Question]:
        return {question.id: question for question in self.questions}


def recorded_value(question: Question, shown: str, *, first: str | None) -> str:
    """The value of an annotation: for a pair the contestant's outcome, for other tasks the value itself.

    Args:
        shown: "first", "second" or "tie" for a pair.
        first: the contestant shown first.
    """
    if question.task != "pairwise" or shown == "tie":
        return shown
    return "win" if (shown == "first") == (first == question.contestant) else "lose"


def shown_value(question: Question, value: str, *, first: str | None) -> str:
    """The inverse of `recorded_value`."""
    if question.task != "pairwise" or value == "tie":
        return value
    return "first" if (value == "win") == (first == question.contestant) else "second"
