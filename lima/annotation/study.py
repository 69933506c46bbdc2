"""A study: which item a person judges next, in which order its responses are shown, and the records that result."""

import hashlib
import hmac
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from lima import jsonl
from lima.annotation.questions import (
    CONTROLS,
    SKIP_REASONS,
    Kind,
    Question,
    StudyEvaluation,
    question_id,
    recorded_value,
)
from lima.annotation.store import Assignment, Person, Saved, Store, StudyError, Submitted
from lima.config.tools import AnnotationSettings
from lima.records import Annotation

ADJUDICATOR = "adjudicator"  # pseudonym of the administrators who settle disagreements
MAX_COMMENT = 2000  # characters
CACHED_ORDERS = 200  # orders of items, one per person and evaluation


def validated(submitted: Submitted, assignment: Assignment, values: Collection[str]) -> Submitted:
    """Validate a judgment; the time is limited to the time since the item was opened, and only a skip has a reason.

    Args:
        values: the task's values, as shown.

    Raises:
        StudyError: the value, the reason or the comment is not valid.
    """
    value, comment = submitted.value, submitted.comment
    if value is not None and value not in values:
        raise StudyError(f"unknown value: {value[:40]}; reload the page")
    if value is None and submitted.reason not in SKIP_REASONS:
        raise StudyError("a skipped item needs a reason; choose one from the list")
    if len(comment) > MAX_COMMENT:
        raise StudyError(f"the comment has {len(comment)} characters; shorten it to {MAX_COMMENT}")
    elapsed = max(0.0, time.time() - assignment.opened)
    return replace(
        submitted,
        reason=submitted.reason if value is None else "",
        comment=comment.strip(),
        seconds=round(min(max(submitted.seconds, 0.0), elapsed), 2),
    )


@dataclass(frozen=True)
class Progress:
    """A person's progress in one evaluation."""

    judged: int  # items with a judgment, skipped ones included; without attention checks and repeats
    available: int  # items that this person may judge in total, the judged ones included


class Study:
    """The evaluations of a checkout that people judge, with the rules of the study."""

    def __init__(self, evaluations: Sequence[StudyEvaluation], store: Store, settings: AnnotationSettings) -> None:
        self.store = store
        self.settings = settings
        self.evaluations = {evaluation.name: evaluation for evaluation in evaluations}
        self.slugs = {self.keyed("slug", evaluation.name)[:10]: evaluation for evaluation in evaluations}
        self._disputes = {evaluation.name: disputes(evaluation) for evaluation in evaluations}
        self._personal_order = lru_cache(CACHED_ORDERS)(self._order_of)  # hashing every item takes most of a request
        self.known_files: dict[Path, tuple[int, int]] = {}  # files of annotations as last read: mtime, size
        self._orders = {
            evaluation.name: sorted(evaluation.by_id, key=lambda id_: stable_hash(settings.seed, "pilot", id_))
            for evaluation in evaluations
        }

    def slug(self, evaluation: StudyEvaluation) -> str:
        """The evaluation's name in addresses; it does not reveal the contestants."""
        return next(slug for slug, other in self.slugs.items() if other.name == evaluation.name)

    def question(self, assignment: Assignment) -> Question:
        """The question of an assignment. Raises StudyError if the responses were sampled again since."""
        evaluation = self.evaluations.get(assignment.evaluation)
        question = evaluation.by_id.get(assignment.question) if evaluation else None
        if question is None:
            raise StudyError("this item is not part of the study any more; reload the page")
        return question

    @property
    def phase(self) -> str:
        """ "pilot" while a pilot is set and not ended by an administrator, else "main"."""
        return self.store.meta("phase") or ("pilot" if self.settings.pilot else "main")

    # --- the next item ---

    def next(self, person: Person, evaluation: StudyEvaluation) -> tuple[Assignment | None, Progress]:
        """The person's open assignment, else a new one, None if nothing is left; and the progress so far."""
        with self.store.writing():  # one transaction: two tabs at once get the same assignment
            given = [
                pair for pair in self.store.assignments(person, evaluation.name) if pair[0].question in evaluation.by_id
            ]
            main = [assignment for assignment, _ in given if assignment.kind == "main"]
            judged = sum(saved is not None for assignment, saved in given if assignment.kind == "main")
            free = self._free_questions(person, evaluation, main)
            progress = Progress(judged, len(main) + len(free))
            open_ = next((assignment for assignment, saved in given if saved is None), None)
            if open_ is None and free:
                open_ = self._new_assignment(person, evaluation, given, free[0])
                self.store.assign(open_)
            return open_, progress

    def progress(self, person: Person, evaluation: StudyEvaluation) -> Progress:
        given = self.store.assignments(person, evaluation.name)
        main = [a for a, _ in given if a.kind == "main" and a.question in evaluation.by_id]
        judged = sum(saved is not None for a, saved in given if a.kind == "main" and a.question in evaluation.by_id)
        return Progress(judged, len(main) + len(self._free_questions(person, evaluation, main)))

    def _free_questions(self, person: Person, evaluation: StudyEvaluation, main: list[Assignment]) -> list[Question]:
        """The questions that this person may still get, best first.

        Items that already have judgments precede, so that they reach the overlap; among equals the order is a hash of
        person and item.
        """
        done = {assignment.question for assignment in main}
        done |= self.store.imported_questions(evaluation.name, person.pseudonym)
        coverage = self.store.coverage(evaluation.name, since=time.time() - 60 * self.settings.reservation_minutes)
        pool = self._personal_order(person.pseudonym, evaluation.name, self.phase)
        free = [id_ for id_ in pool if id_ not in done and coverage[id_] < self.settings.overlap]
        disputes = self._disputes[evaluation.name] if self.settings.order == "disputed" else {}
        free.sort(key=lambda id_: (-coverage[id_], -disputes.get(id_, 0.0)))  # stable: the person's order otherwise
        return [evaluation.by_id[id_] for id_ in free[: max(0, self.settings.quota - len(main))]]

    def _new_assignment(
        self,
        person: Person,
        evaluation: StudyEvaluation,
        given: list[tuple[Assignment, Saved | None]],
        question: Question,
    ) -> Assignment:
        """The given question, or in its place an attention check or the repetition of an earlier item."""
        ordinal = self.store.last_ordinal(person, evaluation.name) + 1
        main = [assignment for assignment, _ in given if assignment.kind == "main"]
        match self._kind(person, evaluation, ordinal):
            case "repeat":
                if (original := self._repeatable(person, given, ordinal)) is not None:
                    question = evaluation.by_id[original.question]
                    return _assigned(person, question, "repeat", ordinal, _other(question, original.first))
            case "attention":
                checked = {assignment.question for assignment, _ in given if assignment.kind == "attention"}
                others = [q for q in evaluation.questions if q.id not in checked and q.id != question.id]
                if others:
                    key = ("attention", person.pseudonym, str(ordinal))
                    question = min(others, key=lambda q: stable_hash(self.settings.seed, *key, q.id))
                    values = [value for value in CONTROLS[evaluation.task].values() if value != "tie"]
                    expected = values[stable_hash(self.settings.seed, "expected", *key) % len(values)]
                    first = self._first(person, question, main, by_item={})
                    return _assigned(person, question, "attention", ordinal, first, expected)
        first = self._first(person, question, main, by_item=self.store.order_counts(question.id))
        return _assigned(person, question, "main", ordinal, first)

    def _repeatable(
        self, person: Person, given: list[tuple[Assignment, Saved | None]], ordinal: int
    ) -> Assignment | None:
        """An item that this person judged at least `repeat_gap` items ago and that was not repeated yet."""
        repeated = {assignment.question for assignment, _ in given if assignment.kind == "repeat"}
        earlier = [
            assignment
            for assignment, saved in given
            if assignment.kind == "main"
            and saved is not None
            and saved.value is not None
            and assignment.question not in repeated
            and assignment.ordinal <= ordinal - self.settings.repeat_gap
        ]
        key = ("repeat", person.pseudonym)
        return min(earlier, key=lambda a: stable_hash(self.settings.seed, *key, a.question), default=None)

    def _order_of(self, pseudonym: str, evaluation: str, phase: str) -> list[str]:
        """The items in the order of a hash of person and item; in a pilot the same few items for everybody."""
        pool = self._orders[evaluation]
        if phase == "pilot":
            pool = pool[: self.settings.pilot]
        return sorted(pool, key=lambda id_: stable_hash(self.settings.seed, "order", pseudonym, id_))

    def _kind(self, person: Person, evaluation: StudyEvaluation, ordinal: int) -> Kind:
        """Attention checks and repeats are one item of each block, at a position that depends on a hash."""
        blocks: tuple[tuple[Kind, int], ...] = (
            ("attention", self.settings.attention_every),
            ("repeat", self.settings.repeat_every),
        )
        for kind, every in blocks:
            if every:
                block, position = divmod(ordinal, every)
                drawn = stable_hash(self.settings.seed, kind, person.pseudonym, evaluation.name, str(block))
                if position == drawn % every and ordinal:
                    return kind
        return "main"

    def _first(
        self, person: Person, question: Question, main: Sequence[Assignment], *, by_item: Mapping[str, int]
    ) -> str | None:
        """Minimisation: the contestant that was shown first less often for this item, else for this person, else by a
        hash of person and item.

        Args:
            main: the person's assignments.
            by_item: how often each contestant was shown first for this item.
        """
        if question.rival is None:
            return None
        sides = (question.contestant, question.rival)
        for counts in (by_item, Counter(assignment.first for assignment in main)):
            if counts.get(sides[0], 0) != counts.get(sides[1], 0):
                return min(sides, key=lambda side: counts.get(side, 0))
        return sides[stable_hash(self.settings.seed, "first", person.pseudonym, question.id) % 2]

    # --- disagreements ---

    def disagreements(self, evaluation: StudyEvaluation) -> list[tuple[Question, dict[str, str]]]:
        """Items on which people differ, most disputed first, each with the value of every person."""
        votes: dict[str, dict[str, str]] = {}
        for record in self.annotations(evaluation.name):
            if record.kind == "main" and record.value is not None:
                votes.setdefault(record_question(record), {})[record.person] = record.value
        differing = [(evaluation.by_id[id_], by) for id_, by in votes.items() if id_ in evaluation.by_id]
        differing = [(question, by) for question, by in differing if len(set(by.values())) > 1]
        return sorted(differing, key=lambda pair: (-dispute(list(pair[1].values())), pair[0].id))

    def next_disagreement(self, person: Person, evaluation: StudyEvaluation) -> tuple[Assignment | None, Progress]:
        """The adjudicator's next item: one on which people differ."""
        with self.store.writing():
            given = [
                pair for pair in self.store.assignments(person, evaluation.name) if pair[0].question in evaluation.by_id
            ]
            known = {assignment.question for assignment, _ in given}
            waiting = [question for question, _ in self.disagreements(evaluation) if question.id not in known]
            judged = sum(saved is not None for _, saved in given)
            open_ = next((assignment for assignment, saved in given if saved is None), None)
            if open_ is None and waiting:
                main = [assignment for assignment, _ in given]
                first = self._first(person, waiting[0], main, by_item={})
                ordinal = self.store.last_ordinal(person, evaluation.name) + 1
                open_ = _assigned(person, waiting[0], "adjudication", ordinal, first)
                self.store.assign(open_)
            return open_, Progress(judged, len(known) + len(waiting))

    def worth_labelling(self, evaluation: StudyEvaluation, most: int) -> list[tuple[Question, dict[str, str]]]:
        """Items whose judgment by a person would tell most: those on which models, baselines and people differ most,
        among equals those with fewest people.

        Returns:
            At most `most` items, each with the values by annotator.
        """
        votes = judge_values(evaluation)
        people: Counter[str] = Counter()
        for record in self.annotations(evaluation.name):
            id_ = record_question(record)
            if record.kind == "main" and record.value is not None and id_ in evaluation.by_id:
                votes.setdefault(id_, {})[record.person] = record.value
                people[id_] += 1
        ranked = sorted(
            (id_ for id_, by in votes.items() if dispute(list(by.values())) and people[id_] < self.settings.overlap),
            key=lambda id_: (-dispute(list(votes[id_].values())), people[id_], id_),
        )
        return [(evaluation.by_id[id_], votes[id_]) for id_ in ranked[:most]]

    # --- judgments ---

    def judge(self, person: Person, assignment: Assignment, submitted: Submitted) -> Saved:
        """Validate and store a judgment; it is on disk when this returns.

        Raises:
            StudyError: the value, the reason or the comment is not valid.
            Conflict: the item was judged meanwhile.
        """
        question = self.question(assignment)
        return self.store.save(
            assignment,
            validated(submitted, assignment, CONTROLS[question.task].values()),
            line=lambda saved: self.record(person, assignment, saved, question).model_dump_json(),
        )

    def completion_code(self, person: Person) -> str:
        """Code for crowd platforms, shown once a person has finished every task."""
        return self.keyed("completion", person.pseudonym)[:10].upper()

    def keyed(self, purpose: str, text: str) -> str:
        """A keyed digest, hexadecimal: it cannot be computed from the text without the study's secret."""
        return hmac.new(self.store.secret.encode(), f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()

    # --- records ---

    def annotations(self, evaluation: str) -> list[Annotation]:
        """All valid judgments as records, in the order of time: those of this database and the imported ones."""
        records = [Annotation.model_validate_json(line) for line in self.store.lines(evaluation)]
        return sorted(records, key=lambda record: (record.time, record.id))

    def record(self, person: Person, assignment: Assignment, saved: Saved, question: Question) -> Annotation:
        value = None if saved.value is None else recorded_value(question, saved.value, first=assignment.first)
        return annotation(
            person,
            assignment,
            saved,
            evaluation=question.evaluation,
            task=question.task,
            prompt_id=question.prompt_id,
            sample=question.sample,
            turn=question.turn,
            contestant=question.contestant,
            rival=question.rival,
            texts=question.digest,
            value=value,
            reason=f"expected {assignment.expected}" if assignment.expected else saved.reason,
        )


def annotation(person: Person, assignment: Assignment, saved: Saved, **item: object) -> Annotation:
    """A judgment as a line of corpus/annotations.

    Args:
        item: the fields of the item, and those that differ from the judgment's, for example the recorded value.
    """
    judged: dict[str, object] = {
        "id": assignment.id,
        "person": person.pseudonym,
        "first": assignment.first,
        "value": saved.value,
        "reason": saved.reason,
        "comment": saved.comment,
        "seconds": saved.seconds,
        "time": saved.time,
        "kind": assignment.kind,
        "simulated": person.simulated,
    }
    return Annotation.model_validate(judged | item)


def dispute(votes: Sequence[str]) -> float:
    """How much votes on an item differ: 1 − share of the most frequent value, 0 if they are unanimous."""
    return 1 - max(map(votes.count, set(votes))) / len(votes) if votes else 0.0


def judge_values(evaluation: StudyEvaluation) -> dict[str, dict[str, str]]:
    """The values of models and baselines by item and annotator."""
    values: dict[str, dict[str, str]] = {}
    for question in evaluation.questions:
        position = (question.prompt_id, question.sample, question.turn, question.contestant)
        by = {name: judged[position] for name, judged in evaluation.judges.items() if position in judged}
        if by:
            values[question.id] = by
    return values


def disputes(evaluation: StudyEvaluation) -> dict[str, float]:
    """How much models and baselines differ on each item."""
    return {id_: dispute(list(by.values())) for id_, by in judge_values(evaluation).items()}


def record_question(record: Annotation) -> str:
    """The id of the question that an annotation answers."""
    return question_id(
        record.evaluation,
        record.prompt_id,
        record.sample,
        record.turn,
        record.contestant,
        record.rival,
        record.texts,
    )


def _assigned(
    person: Person, question: Question, kind: Kind, ordinal: int, first: str | None, expected: str | None = None
) -> Assignment:
    id_ = uuid.uuid4().hex
    return Assignment(id_, person.id, question.evaluation, question.id, kind, ordinal, first, expected, time.time())


def _other(question: Question, first: str | None) -> str | None:
    """The contestant that was not shown first."""
    return question.rival if first == question.contestant else question.contestant if first else None


def stable_hash(seed: int, *names: str) -> int:
    """The first 64 bits of SHA-256 of the seed and the names."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


# --- corpus/annotations ---


def write_annotations(study: Study, folder: Path) -> None:
    """Write the annotations of every evaluation to folder/EVALUATION.jsonl, atomically, where they changed.

    A file that another program changed, such as git, is read first, so that none of its lines is lost.
    """
    read_annotations(study, folder)
    names = study.store.judged_evaluations() | {path.stem for path in folder.glob("*.jsonl")}
    for evaluation in sorted(names):
        path = folder / f"{evaluation}.jsonl"
        records = study.annotations(evaluation)
        text = "".join(record.model_dump_json() + "\n" for record in records) or jsonl.NO_RECORDS
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            jsonl.write(path, records, is_dependency=True)
        study.known_files[path] = _state(path)


def read_annotations(study: Study, folder: Path) -> int:
    """Add the annotations of folder/*.jsonl that were made elsewhere. Returns their number.

    Files that have not changed since they were read or written are skipped.
    """
    count = 0
    for path in sorted(folder.glob("*.jsonl")):
        if study.known_files.get(path) != (state := _state(path)):
            count += import_annotations(study, jsonl.read(path, Annotation))
            study.known_files[path] = state
    return count


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def import_annotations(study: Study, records: Iterable[Annotation]) -> int:
    rows = [
        (
            record.id,
            record.evaluation,
            record.person,
            record_question(record),
            record.kind,
            record.model_dump_json(),
        )
        for record in records
    ]
    return study.store.add_imported(rows)
