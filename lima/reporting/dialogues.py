"""Scripted dialogues: the table of §6, and every response with its grade and the first failing exchange."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lima.evaluation.dialogue_rates import Dialogue, DialogueRates, grades_by_dialogue
from lima.evaluation.statistics.estimates import Interval
from lima.evaluation.tasks import GRADE_VALUES
from lima.records import Judgment, Prompt, Response
from lima.reporting import answers, paper
from lima.reporting.measures import Evaluations, Measured
from lima.reporting.results import Results

LETTERS = {"fail": "F", "pass": "P", "excellent": "E", None: "–"}
UNDETERMINED = "open"  # a grade is missing before any failure
Value = str | None


@dataclass(frozen=True)
class DialogueRow:
    """One contestant's grades in the table of §6."""

    contestant: str
    rates: DialogueRates
    responses: int  # with a grade
    failed: tuple[int, Interval] | None  # dialogues that fail within the paper's number of exchanges


@dataclass(frozen=True)
class Course:
    """One contestant's responses in one dialogue."""

    contestant: str
    grades: tuple[Value, ...]  # by exchange
    first_failure: str  # number of the exchange, from 1; "none", or "open" if a grade is missing before any failure

    @property
    def letters(self) -> str:
        return " ".join(LETTERS[grade] for grade in self.grades)


@dataclass(frozen=True)
class DialogueTable:
    """The dialogues of one evaluation, graded by one annotator."""

    measured: Measured
    rows: tuple[DialogueRow, ...]
    courses: Mapping[Dialogue, tuple[Course, ...]]


@dataclass(frozen=True)
class Exchange:
    asked: Markup
    response: Markup | None  # None if the contestant gave no response
    note: str  # tokens, truncated
    grades: tuple[tuple[str, str], ...]  # annotator (or person), grade


@dataclass(frozen=True)
class Conversation:
    contestant: str
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True)
class ShownDialogue:
    script: Prompt
    conversations: tuple[Conversation, ...]


def tables(results: Results, evaluations: Evaluations, *, confidence: float) -> list[DialogueTable]:
    """One table for each evaluation of dialogues and annotator with a grade."""
    return [
        _table(measured, results.judgments[name][annotator], confidence)
        for name, by_annotator in evaluations.items()
        for annotator, measured in by_annotator.items()
        if any(rates.shares for rates in measured.dialogues.values())
    ]


def shown(results: Results, evaluations: Evaluations, *, most: int) -> list[ShownDialogue]:
    """The conversations of the first scripts with responses, by contestant."""
    grades = given_grades(results, evaluations)
    found = []
    for script in results.dialogues:
        conversations = tuple(
            Conversation(name, tuple(_exchanges(script, own, grades)))
            for name, responses in results.dialogue_responses.items()
            if (own := [r for r in responses if r.prompt_id == script.id and r.sample == 0])
        )
        if conversations:
            found.append(ShownDialogue(script, conversations))
    return found[:most]


Place = tuple[str, str, int, int]  # contestant, prompt, sample, turn


def given_grades(results: Results, evaluations: Evaluations) -> dict[Place, tuple[tuple[str, str], ...]]:
    """Annotator and grade of each response of a dialogue; a missing grade with its reason."""
    grades: dict[Place, tuple[tuple[str, str], ...]] = {}
    for name, by_annotator in evaluations.items():
        for annotator, measured in by_annotator.items():
            if measured.task != "dialogue":
                continue
            for judgment in results.judgments[name][annotator]:
                place = (judgment.contestant, judgment.prompt_id, judgment.sample, judgment.turn)
                who = f"{annotator} ({judgment.person})" if judgment.person else annotator
                value = judgment.value or f"no grade: {judgment.reason or 'unparsed'}"
                grades[place] = tuple(dict.fromkeys((*grades.get(place, ()), (who, value))))
    return grades


def _table(measured: Measured, judgments: Sequence[Judgment], confidence: float) -> DialogueTable:
    graded = grades_by_dialogue(judgments)
    dialogues = list(dict.fromkeys(dialogue for own in graded.values() for dialogue in own))
    return DialogueTable(
        measured=measured,
        rows=tuple(
            DialogueRow(
                contestant=name,
                rates=rates,
                responses=sum(rates.grades.values()),
                failed=rates.failed_within(paper.FAILED_WITHIN, confidence=confidence),
            )
            for name, rates in measured.dialogues.items()
        ),
        courses={
            dialogue: tuple(
                Course(
                    contestant=name,
                    grades=tuple(None if grade is None else GRADE_VALUES[grade] for grade in own[dialogue].values()),
                    first_failure=_first_failure(measured.dialogues[name], dialogue),
                )
                for name, own in graded.items()
                if dialogue in own
            )
            for dialogue in dialogues
        },
    )


def _first_failure(rates: DialogueRates, dialogue: Dialogue) -> str:
    if dialogue in rates.undetermined:
        return UNDETERMINED
    first = rates.first_failures[dialogue]
    return "none" if first is None else str(first)


def _exchanges(
    script: Prompt, responses: Sequence[Response], grades: Mapping[Place, tuple[tuple[str, str], ...]]
) -> Iterator[Exchange]:
    by_turn = {response.turn: response for response in responses}
    asked = [turn.content for turn in script.messages if turn.role == "user"]
    for turn, question in enumerate(asked[: max(by_turn) + 1]):
        response = by_turn.get(turn)
        yield Exchange(
            asked=answers.as_html(question),
            response=answers.as_html(response.text) if response else None,
            note=note(response) if response else "",
            grades=grades.get((response.contestant, script.id, response.sample, turn), ()) if response else (),
        )


def note(response: Response) -> str:
    """Sample, exchange, tokens and truncation of a response, in words."""
    parts = [
        f"sample {response.sample + 1}" if response.sample else "",
        f"{response.tokens:,} tokens" if response.tokens is not None else "",
        "truncated" if response.finish == "length" else "",
    ]
    return " · ".join(filter(None, parts))
