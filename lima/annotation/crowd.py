"""Simulated annotators with known error rates, for tests and demonstrations. Their annotations are marked simulated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lima.annotation.questions import CONTROLS, Question, shown_value
from lima.annotation.store import Assignment, Submitted
from lima.annotation.study import Study
from lima.curation import hashing
from lima.evaluation.tasks import TASKS

SECONDS = (14.0, 0.6)  # median and sigma of the log-normal time per item


@dataclass(frozen=True)
class SimulatedPerson:
    name: str
    error: float  # probability of a choice other than the true one, each of the others being equally likely


def true_value(question: Question, seed: int) -> str:
    """The assumed true value of an item, as recorded, uniform over the values and drawn by a hash of the item."""
    values = TASKS[question.task].values
    return values[int(hashing.hash_uniform(seed, f"truth:{question.id}") * len(values))]


def fill(study: Study, people: Sequence[SimulatedPerson], *, seed: int) -> int:
    """Let simulated people judge everything that the study gives them, in turns. Returns the number of judgments.

    They pass the comprehension check, and err at the same rate on items, repeats and attention checks.
    """
    known = [(study.store.person(person.name, simulated=True), person.error) for person in people]
    count = 0
    for evaluation in study.evaluations.values():
        waiting = list(known)
        for person, _ in known:
            study.store.record_check(person, evaluation.task, passed=True)
        while waiting:
            for person, error in list(waiting):
                assignment, _ = study.next(person, evaluation)
                if assignment is None:
                    waiting.remove((person, error))
                    continue
                rng = hashing.generator(seed, f"{person.pseudonym}:{evaluation.name}:{assignment.ordinal}")
                question = study.question(assignment)
                seconds = float(rng.lognormal(np.log(SECONDS[0]), SECONDS[1]))
                value = _choice(question, assignment, error, seed=seed, rng=rng)
                study.judge(
                    person,
                    replace(assignment, opened=assignment.opened - seconds),
                    Submitted(0, f"simulated:{assignment.id}", value, seconds=seconds),
                )
                count += 1
    return count


def _choice(question: Question, assignment: Assignment, error: float, *, seed: int, rng: np.random.Generator) -> str:
    """The value as shown: the expected one of an attention check, else the true one, each with errors."""
    values = CONTROLS[question.task].values()
    right = assignment.expected or shown_value(question, true_value(question, seed), first=assignment.first)
    if rng.random() >= error:
        return right
    others = [value for value in values if value != right]
    return others[int(rng.integers(len(others)))]
