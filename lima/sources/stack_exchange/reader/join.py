"""Partitioned hash join of a site's answers with their questions, best answer first, with a reason per dropped post.

It works on fixed-size numeric records that are spilled to disk in partitions, one of which fits into memory: by id to
find duplicates, by question to join, and by line to restore the order of the dump. Rows may be in any order.
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
from lima.sources.stack_exchange.reader.columns import Ints, Mask
from lima.sources.stack_exchange.reader.outcomes import CODE, OUTCOME, dropped, outcomes_of
from lima.sources.stack_exchange.reader.row_parser import ANSWER, QUESTION
from lima.sources.stack_exchange.reader.table import ABSENT, POST

ID_LINE = np.dtype([("id", "i8"), ("line", "i8")])


class KSmallest:
    """Running upper bound of the `size` smallest of a stream of distinct numbers; it never increases."""

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
    """Context manager with its records on disk: `add` all posts, `join`, then read `outcomes`."""

    def __init__(self, folder: Path, *, early: Prefilter | None, prefix: str) -> None:
        self._early = early
        self._prefix = prefix  # prefix + question id = candidate id
        self._smallest = KSmallest(early.reservoir if early else 0)
        self._spills = (Spill(folder, ID_LINE), Spill(folder, POST), Spill(folder, OUTCOME))
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
        ids = np.empty(len(posts), ID_LINE)
        ids["id"], ids["line"] = posts["id"], posts["line"]
        self._ids.add(ids, by_key(ids["id"]))
        relevant = posts.compress((posts["kind"] == QUESTION) | (posts["kind"] == ANSWER) | (posts["fault"] > 0))
        question = np.where(relevant["kind"] == ANSWER, relevant["parent"], relevant["id"])
        self._posts.add(relevant, by_key(question))

    def add_unreadable_questions(self, ids: list[int]) -> None:
        """Answers to these questions are skipped, like answers to dropped questions."""
        self._unreadable_questions += ids

    @cached_property
    def owners(self) -> Ints:
        """Sorted ids of the owners of posts that can be selected; valid after `join`."""
        return np.unique(np.concatenate(self._owners))

    def join(self, *, lines: int) -> None:
        """Join all posts. `lines` must exceed every line number."""
        repeated = self._repeated_ids(lines)
        for part in self._posts.parts():
            for outcome in self._joined(part.compress(~_among(repeated, part["line"]))):
                self._outcomes.add(outcome, by_range(outcome["place"], below=lines))

    def _repeated_ids(self, lines: int) -> Ints:
        """Drop posts with the id of an earlier line; returns their lines, sorted."""
        repeated = [np.zeros(0, np.int64)]
        for part in self._ids.parts():
            ordered = part.take(np.lexsort((part["line"], part["id"])))
            again = ordered[1:].compress(ordered["id"][1:] == ordered["id"][:-1])
            outcome = np.zeros(len(again), OUTCOME)
            outcome["id"], outcome["place"], outcome["reason"] = again["id"], again["line"], CODE["duplicate_id"]
            outcome["line"], outcome["rank"] = again["line"], -1
            self._outcomes.add(outcome, by_range(outcome["place"], below=lines))
            repeated.append(again["line"])
        return np.sort(np.concatenate(repeated))

    def _joined(self, part: Records) -> Iterator[Records]:
        """Join one partition: yields dropped posts, the questions, and the answers of questions that may be kept."""
        faulty = part["fault"] > 0
        yield dropped(part.compress(faulty), part["fault"][faulty])
        unreadable = np.array(self._unreadable_questions, np.int64)
        left_out = np.sort(np.concatenate((part["id"][faulty & (part["kind"] == QUESTION)], unreadable)))
        questions = part.compress(~faulty & (part["kind"] == QUESTION))
        questions = questions.take(np.argsort(questions["id"]))
        answers = part.compress(~faulty & (part["kind"] == ANSWER))
        has_question = _among(questions["id"], answers["parent"])
        orphans = answers.compress(~has_question & ~_among(left_out, answers["parent"]))
        yield dropped(orphans, np.full(len(orphans), CODE["orphan_answer"]))
        answers = answers.compress(has_question)
        index = np.searchsorted(questions["id"], answers["parent"])
        not_accepted = answers["id"] != questions["accepted"][index]
        order = np.lexsort((answers["id"], not_accepted, -answers["score"], index))
        yield from self._ranked(questions, answers.take(order), index[order])

    def _ranked(self, questions: Records, answers: Records, index: Ints) -> Iterator[Records]:
        """Rank the answers of each question.

        Args:
            questions: Sorted by id.
            answers: Sorted by question, then best first.
            index: (answers,) index of each answer's question.
        """
        first = np.flatnonzero(np.diff(index, prepend=-1))
        outcome = outcomes_of(questions, questions["line"])
        outcome["best"][index[first]] = answers["score"][first]
        answered = np.zeros(len(questions), np.bool_)
        answered[index[first]] = ~answers["blank"][first]
        if self._early:
            outcome["share"][answered] = self._early.shares(self._prefix, questions["id"][answered].tolist())
            self._smallest.offer(outcome["share"][answered])
            outcome["reason"][~answered] = CODE["no_answer"]
            outcome["reason"][answered] = CODE["low_response_score"]
            outcome["reason"][self._stays(outcome)] = 0
        yield outcome
        stays = outcome["reason"] == 0
        ranked = outcomes_of(answers, questions["line"][index])
        ranked["rank"] = np.arange(len(answers)) - np.repeat(first, np.diff(np.append(first, len(answers))))
        ranked = ranked.compress(stays[index])
        yield ranked
        self._owners.append(np.union1d(outcome["owner"][stays], ranked["owner"]))

    def _stays(self, outcome: Records) -> Mask:
        """Which questions the prefilter keeps. Final after the join; before it, some may still be dropped."""
        assert self._early
        return (outcome["best"] >= self._early.min_response_score) | (outcome["share"] <= self._smallest.bound)

    def missed(self) -> list[int]:
        """Lines of answers that can be selected but whose text was not stored; valid after `join`.

        Their questions are in the reservoir, which is final only after the join.
        """
        if not self._early:
            return []
        lines: list[int] = []
        for part in self._outcomes.parts():
            missed = part.compress((part["rank"] >= 0) & (part["at"] == ABSENT))
            questions = part.compress((part["rank"] < 0) & (part["reason"] == 0))
            spared = questions.compress(self._stays(questions) & (questions["best"] < self._early.min_response_score))
            lines += missed["line"][_among(np.sort(spared["place"]), missed["place"])].tolist()
        return sorted(lines)

    def outcomes(self) -> Iterator[Records]:
        """The outcomes of all posts in batches, in the order of the dump; valid after `join`."""
        for part in self._outcomes.parts():
            part = part.take(np.lexsort((part["rank"], part["place"])))
            if self._early:
                gone = (part["rank"] < 0) & (part["reason"] == 0) & ~self._stays(part)
                part["reason"][gone] = np.where(part["share"][gone] < 1, CODE["low_response_score"], CODE["no_answer"])
            yield part


def _among(ordered: Ints, values: Ints) -> Mask:
    """Membership in a sorted array, (values,). Unlike np.isin, it does not sort again."""
    return np.searchsorted(ordered, values) < np.searchsorted(ordered, values, "right")
