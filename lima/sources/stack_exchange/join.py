"""A Stack Exchange site's join: which answers belong to which question, which is the best, and what is left out.

It works on records of numbers, in as many parts as fit into memory one at a time: by id to find ids that come twice, by
question to join, by line so that everything leaves in the order of the dump. Rows may come in any order.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lima.sources.base import Prefilter
from lima.sources.spill import Records, Spill, by_key, by_range
from lima.sources.stack_exchange.columns import Ints, Mask
from lima.sources.stack_exchange.outcomes import CODE, OUTCOME, dropped, outcomes_of
from lima.sources.stack_exchange.row_parser import ANSWER, QUESTION
from lima.sources.stack_exchange.table import ABSENT, POST

TWICE = np.dtype([("id", "i8"), ("line", "i8")])


class KSmallest:
    """The bound below or at which the `size` smallest of many distinct numbers lie; it only falls."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values = np.zeros(0)

    def offer(self, values: NDArray[np.float64]) -> None:
        if len(low := values[values <= self.bound]):
            self._values = np.unique(np.concatenate((self._values, low)))[: self._size]

    @property
    def bound(self) -> float:
        if len(self._values) < self._size:
            return 1.0
        return float(self._values[-1]) if self._size else -1.0


class SiteJoin:
    """A context, which holds its records on disk: add all posts, join, and take what came out."""

    def __init__(self, folder: Path, *, early: Prefilter | None, prefix: str) -> None:
        self._early = early
        self._prefix = prefix  # with a question's id, a candidate's id
        self._smallest = KSmallest(early.reservoir if early else 0)
        self._spills = (Spill(folder, TWICE), Spill(folder, POST), Spill(folder, OUTCOME))
        self._stack = ExitStack()
        self._owners = [np.zeros(0, np.int64)]
        self._unreadable_questions: list[int] = []

    def __enter__(self) -> Self:
        for spill in self._spills:
            self._stack.enter_context(spill)
        self._ids, self._posts, self._outcomes = self._spills
        return self

    def __exit__(self, *about: object) -> None:
        self._stack.close()

    def add(self, posts: Records) -> None:
        ids = np.empty(len(posts), TWICE)
        ids["id"], ids["line"] = posts["id"], posts["line"]
        self._ids.add(ids, by_key(ids["id"]))
        matter = posts.compress((posts["kind"] == QUESTION) | (posts["kind"] == ANSWER) | (posts["fault"] > 0))
        question = np.where(matter["kind"] == ANSWER, matter["parent"], matter["id"])
        self._posts.add(matter, by_key(question))

    def add_unreadable_questions(self, ids: list[int]) -> None:
        """Answers to these questions are passed over, like answers to a question that is dropped."""
        self._unreadable_questions += ids

    @cached_property
    def owners(self) -> Ints:
        """After the join, of the posts that may be chosen; sorted."""
        return np.unique(np.concatenate(self._owners))

    def join(self, *, lines: int) -> None:
        """`lines` is more than any line's number."""
        twice = self._twice(lines)
        for part in self._posts.parts():
            for outcome in self._joined(part.compress(~_among(twice, part["line"]))):
                self._outcomes.add(outcome, by_range(outcome["place"], below=lines))

    def _twice(self, lines: int) -> Ints:
        """The lines of posts whose id has come before, sorted."""
        found = [np.zeros(0, np.int64)]
        for part in self._ids.parts():
            ordered = part.take(np.lexsort((part["line"], part["id"])))
            again = ordered[1:].compress(ordered["id"][1:] == ordered["id"][:-1])
            outcome = np.zeros(len(again), OUTCOME)
            outcome["id"], outcome["place"], outcome["reason"] = again["id"], again["line"], CODE["duplicate_id"]
            outcome["line"], outcome["rank"] = again["line"], -1
            self._outcomes.add(outcome, by_range(outcome["place"], below=lines))
            found.append(again["line"])
        return np.sort(np.concatenate(found))

    def _joined(self, part: Records) -> Iterator[Records]:
        """Of all posts of some questions: what is dropped, the questions, and the answers of those that may stay."""
        faulty = part["fault"] > 0
        yield dropped(part.compress(faulty), part["fault"][faulty])
        unreadable = np.array(self._unreadable_questions, np.int64)
        left_out = np.sort(np.concatenate((part["id"][faulty & (part["kind"] == QUESTION)], unreadable)))
        questions = part.compress(~faulty & (part["kind"] == QUESTION))
        questions = questions.take(np.argsort(questions["id"]))
        answers = part.compress(~faulty & (part["kind"] == ANSWER))
        asked = _among(questions["id"], answers["parent"])
        orphans = answers.compress(~asked & ~_among(left_out, answers["parent"]))
        yield dropped(orphans, np.full(len(orphans), CODE["orphan_answer"]))
        answers = answers.compress(asked)
        of = np.searchsorted(questions["id"], answers["parent"])
        second = answers["id"] != questions["accepted"][of]
        order = np.lexsort((answers["id"], second, -answers["score"], of))
        yield from self._ranked(questions, answers.take(order), of[order])

    def _ranked(self, questions: Records, answers: Records, of: Ints) -> Iterator[Records]:
        """`of`: (answers,) the index of each one's question; answers of a question stand together, the best first."""
        first = np.flatnonzero(np.diff(of, prepend=-1))
        outcome = outcomes_of(questions, questions["line"])
        outcome["best"][of[first]] = answers["score"][first]
        said = np.zeros(len(questions), np.bool_)
        said[of[first]] = ~answers["blank"][first]
        if self._early:
            outcome["share"][said] = self._early.shares(self._prefix, questions["id"][said].tolist())
            self._smallest.offer(outcome["share"][said])
            outcome["reason"][~said] = CODE["no_answer"]
            outcome["reason"][said] = CODE["low_response_score"]
            outcome["reason"][self._stays(outcome)] = 0
        yield outcome
        stays = outcome["reason"] == 0
        ranked = outcomes_of(answers, questions["line"][of])
        ranked["rank"] = np.arange(len(answers)) - np.repeat(first, np.diff(np.append(first, len(answers))))
        ranked = ranked.compress(stays[of])
        yield ranked
        self._owners.append(np.union1d(outcome["owner"][stays], ranked["owner"]))

    def _stays(self, outcome: Records) -> Mask:
        """Which questions stay, as far as is known; after the join, for certain."""
        assert self._early
        return (outcome["best"] >= self._early.min_response_score) | (outcome["share"] <= self._smallest.bound)

    def missed(self) -> list[int]:
        """After the join, the lines of answers that may be chosen and are not kept.

        Their questions stay whatever their votes; as the rows went by, others seemed to do so.
        """
        if not self._early:
            return []
        lines: list[int] = []
        for part in self._outcomes.parts():
            missed = part.compress((part["rank"] >= 0) & (part["at"] == ABSENT))
            asked = part.compress((part["rank"] < 0) & (part["reason"] == 0))
            spared = asked.compress(self._stays(asked) & (asked["best"] < self._early.min_response_score))
            lines += missed["line"][_among(np.sort(spared["place"]), missed["place"])].tolist()
        return sorted(lines)

    def outcomes(self) -> Iterator[Records]:
        """After the join, what became of the posts, in the order of the dump, some at a time."""
        for part in self._outcomes.parts():
            part = part.take(np.lexsort((part["rank"], part["place"])))
            if self._early:
                gone = (part["rank"] < 0) & (part["reason"] == 0) & ~self._stays(part)
                part["reason"][gone] = np.where(part["share"][gone] < 1, CODE["low_response_score"], CODE["no_answer"])
            yield part


def _among(ordered: Ints, values: Ints) -> Mask:
    """Which of the values are among sorted ones; np.isin sorts and hashes anew."""
    return np.searchsorted(ordered, values) < np.searchsorted(ordered, values, "right")
