"""Grades of dialogues, scripted or live: shares, and the first failing exchange of each dialogue (LIMA §6)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median_low

from lima.evaluation.statistics.estimates import Estimate, Interval
from lima.evaluation.statistics.proportions import clustered_share, wilson
from lima.evaluation.tasks import GRADE_VALUES
from lima.records import OFF_SUBJECT, Judgment

FAIL = GRADE_VALUES.index("fail")
Dialogue = tuple[str, int]  # prompt id, sample
Grades = Mapping[int, int | None]  # turn → index in GRADE_VALUES; None without a grade


@dataclass(frozen=True)
class DialogueRates:
    """One contestant's grades by one annotator."""

    dialogues: int
    grades: Mapping[str, int]  # number of responses by grade
    missing: int  # responses without a grade
    shares: Mapping[str, Estimate]  # of each grade among the graded responses; empty if there are none
    first_failures: Mapping[Dialogue, int | None]  # number of the first failing exchange, from 1; None: no failure
    undetermined: tuple[Dialogue, ...]  # dialogues with a missing grade before any failure; not in first_failures
    off_subject: int  # responses in live conversations that leave the subject

    def failed_within(self, exchanges: int, *, confidence: float) -> tuple[int, Interval] | None:
        """Number of dialogues that fail within the first exchanges, with the Wilson interval of their share.

        None if no dialogue has a determined first failure.
        """
        if not self.first_failures:
            return None
        failed = sum(first is not None and first <= exchanges for first in self.first_failures.values())
        number = len(self.first_failures)
        return failed, wilson(failed / number, number, confidence=confidence)


@dataclass(frozen=True)
class DialogueComparison:
    """Number of dialogues in which a contestant is better than, equal to or worse than a rival."""

    win: int
    tie: int
    lose: int


def dialogue_rates(judgments: Iterable[Judgment], *, confidence: float) -> dict[str, DialogueRates]:
    """Return the rates of each contestant.

    The intervals of the shares take the responses of one dialogue as a cluster. If several people graded a response,
    the median of their grades counts, the lower one of two.

    Args:
        judgments: of one evaluation of the task dialogue by one annotator.
    """
    known = list(judgments)
    off_subject = Counter(judgment.contestant for judgment in known if judgment.detail == OFF_SUBJECT)
    return {
        contestant: _rates(dialogues, off_subject[contestant], confidence=confidence)
        for contestant, dialogues in grades_by_dialogue(known).items()
    }


def compare_dialogues(judgments: Iterable[Judgment], contestant: str, rival: str) -> DialogueComparison:
    """Compare the mean grades of each dialogue that both contestants completed with a grade for each response.

    The mean of fail = 0, pass = 1 and excellent = 2. The paper counts better dialogues without a definition.
    """
    by_contestant = grades_by_dialogue(judgments)
    means = [
        {dialogue: fmean(known) for dialogue, grades in dialogues.items() if (known := _complete(grades))}
        for dialogues in (by_contestant.get(contestant, {}), by_contestant.get(rival, {}))
    ]
    pairs = [(mean, means[1][dialogue]) for dialogue, mean in means[0].items() if dialogue in means[1]]
    return DialogueComparison(
        win=sum(own > other for own, other in pairs),
        tie=sum(own == other for own, other in pairs),
        lose=sum(own < other for own, other in pairs),
    )


def count_preferences(preferences: Iterable[Judgment]) -> DialogueComparison:
    """Count people's preferences between paired live conversations; skipped pairs are left out."""
    values = Counter(preference.value for preference in preferences)
    return DialogueComparison(win=values["win"], tie=values["tie"], lose=values["lose"])


def grades_by_dialogue(judgments: Iterable[Judgment]) -> dict[str, dict[Dialogue, dict[int, int | None]]]:
    """Return the grade of each response by contestant, dialogue and turn, in the order of the turns."""
    values: dict[str, dict[Dialogue, dict[int, list[int]]]] = defaultdict(lambda: defaultdict(dict))
    for judgment in judgments:
        turns = values[judgment.contestant][judgment.prompt_id, judgment.sample]
        grades = turns.setdefault(judgment.turn, [])
        if judgment.value is not None:
            grades.append(GRADE_VALUES.index(judgment.value))
    return {
        contestant: {
            dialogue: {turn: median_low(grades) if grades else None for turn, grades in sorted(turns.items())}
            for dialogue, turns in dialogues.items()
        }
        for contestant, dialogues in values.items()
    }


def _rates(dialogues: Mapping[Dialogue, Grades], off_subject: int, *, confidence: float) -> DialogueRates:
    known = {
        f"{prompt}/{sample}": [grade for grade in grades.values() if grade is not None]
        for (prompt, sample), grades in dialogues.items()
    }
    graded = [grade for grades in known.values() for grade in grades]
    firsts = {dialogue: _first_failure(grades) for dialogue, grades in dialogues.items()}
    return DialogueRates(
        dialogues=len(dialogues),
        grades={name: graded.count(index) for index, name in enumerate(GRADE_VALUES)},
        missing=sum(grade is None for grades in dialogues.values() for grade in grades.values()),
        shares={name: _share(known, index, confidence) for index, name in enumerate(GRADE_VALUES)} if graded else {},
        first_failures={dialogue: first for dialogue, first in firsts.items() if first != 0},
        undetermined=tuple(dialogue for dialogue, first in firsts.items() if first == 0),
        off_subject=off_subject,
    )


def _share(known: Mapping[str, Sequence[int]], index: int, confidence: float) -> Estimate:
    return clustered_share(
        {dialogue: [float(grade == index) for grade in grades] for dialogue, grades in known.items()},
        confidence=confidence,
    )


def _first_failure(grades: Grades) -> int | None:
    """Number of the first failing exchange, from 1; None if there is none; 0 if a missing grade comes first."""
    for turn, grade in grades.items():
        if grade is None:
            return 0
        if grade == FAIL:
            return turn + 1
    return None


def _complete(grades: Grades) -> list[int]:
    """The grades of a dialogue; empty if one is missing."""
    known = [grade for grade in grades.values() if grade is not None]
    return known if len(known) == len(grades) else []
