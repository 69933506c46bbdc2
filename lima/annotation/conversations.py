"""Live conversations of people with contestants: which one is next, its exchanges, grades and preferences (LIMA §6).

A person's turn and a finished response are committed to the database before they are confirmed. Each graded response
is an annotation that contains its exchange.
"""

import hashlib
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict

from lima import jsonl
from lima.annotation.store import Assignment, Conflict, Person, Saved, StudyError, Submitted
from lima.annotation.study import Progress, Study, annotation, stable_hash, validated
from lima.config.tools import ConversationSettings
from lima.errors import LimaError
from lima.evaluation.tasks import GRADE_VALUES
from lima.records import OFF_SUBJECT, Annotation, LiveExchange, Record, Turn

PREFERENCES = ("first", "tie", "second")  # as shown: the conversation that was held first, neither, the later one
NOT_GRADED = "grade the last answer first"


@dataclass(frozen=True)
class LiveEvaluation:
    """An evaluation whose contestants people talk to."""

    name: str
    contestant: str
    rival: str
    openings: Mapping[str, str]  # id → first turn


@dataclass(frozen=True)
class Conversation:
    id: str
    person: int
    evaluation: str
    opening: str
    contestant: str
    ordinal: int
    ended: bool


@dataclass(frozen=True)
class Exchange:
    turn: int
    asked: str
    response: str | None  # None: not answered yet
    attempt: int  # of failed ones
    assignment: str | None  # of the response's grade


@dataclass(frozen=True)
class Pair:
    """Two conversations of a person on one opening, in the order in which they were held."""

    assignment: Assignment
    conversations: tuple[Conversation, Conversation]


class OpeningRow(Record):
    """One line of the file of openings; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str
    messages: tuple[Turn, ...]


def read_openings(path: Path) -> dict[str, str]:
    """The first turns by id. Raises LimaError if the file is missing or empty."""
    if not path.exists():
        raise LimaError(f"{path} not found; correct annotation.conversations.openings in params.yaml")
    openings = {row.id: row.messages[-1].content for row in jsonl.read(path, OpeningRow)}
    if not openings:
        raise LimaError(f"{path} has no opening; add one, or correct annotation.conversations.openings in params.yaml")
    return openings


class Conversations:
    """The conversations of a study."""

    def __init__(self, study: Study, evaluations: Sequence[LiveEvaluation]) -> None:
        self._study = study
        self._store = study.store
        self.settings: ConversationSettings = study.settings.conversations
        self.evaluations = {evaluation.name: evaluation for evaluation in evaluations}
        self.slugs = {study.keyed("conversations", name)[:10]: e for name, e in self.evaluations.items()}

    def evaluation(self, slug: str) -> LiveEvaluation:
        """The evaluation of an address. Raises StudyError for an unknown one."""
        if slug not in self.slugs:
            raise StudyError("unknown task; return to the list of tasks")
        return self.slugs[slug]

    def simulated_person(self, pseudonym: str) -> Person:
        """A person whose annotations are marked as simulated."""
        return self._store.person(pseudonym, simulated=True)

    # --- the next conversation ---

    def next(self, person: Person, evaluation: LiveEvaluation) -> Conversation | Pair | None:
        """The open conversation, else a pair without a preference, else a new conversation; None at the end."""
        with self._store.writing():  # one transaction: two tabs get the same conversation
            given = self._given(person, evaluation)
            if open_ := next((each for each in given if not each.ended), None):
                return open_
            if self.settings.paired:
                if pair := self._open_pair(person, evaluation, given):
                    return pair
                if single := self._single(given):
                    other = evaluation.rival if single.contestant == evaluation.contestant else evaluation.contestant
                    return self._start(person, evaluation, single.opening, other, len(given))
            free = self._free_openings(person, evaluation, given)
            if not free:
                return None
            return self._start(person, evaluation, free[0], self._first(person, evaluation, free[0], given), len(given))

    def progress(self, person: Person, evaluation: LiveEvaluation) -> Progress:
        given = self._given(person, evaluation)
        left = len(self._free_openings(person, evaluation, given)) * (2 if self.settings.paired else 1)
        waiting = 1 if self.settings.paired and self._single(given) else 0
        return Progress(sum(each.ended for each in given), len(given) + waiting + left)

    def is_finished(self, person: Person, evaluation: LiveEvaluation) -> bool:
        progress = self.progress(person, evaluation)
        pairs = self.settings.paired and self._pairs_without_preference(person, evaluation)
        return progress.judged >= progress.available and not pairs

    def _given(self, person: Person, evaluation: LiveEvaluation) -> list[Conversation]:
        rows = self._store.rows(
            f"{CONVERSATION} WHERE person = ? AND evaluation = ? ORDER BY ordinal", person.id, evaluation.name
        )
        return [_conversation(row) for row in rows if row[3] in evaluation.openings]

    def _free_openings(self, person: Person, evaluation: LiveEvaluation, given: list[Conversation]) -> list[str]:
        """Openings that this person may still get, in an order of their own."""
        done = {each.opening for each in given} | self._imported_openings(person, evaluation)
        free = [opening for opening in evaluation.openings if opening not in done]
        seed = self._study.settings.seed
        free.sort(key=lambda opening: stable_hash(seed, "opening", person.pseudonym, evaluation.name, opening))
        per_opening = 2 if self.settings.paired else 1
        started = len({each.opening for each in given})
        return free[: max(0, -(-self.settings.per_person // per_opening) - started)]

    def _imported_openings(self, person: Person, evaluation: LiveEvaluation) -> set[str]:
        """Openings of conversations that this person held on another machine."""
        lines = self._store.rows(
            "SELECT line FROM imported WHERE evaluation = ? AND pseudonym = ?", evaluation.name, person.pseudonym
        )
        return {Annotation.model_validate_json(str(line)).prompt_id for (line,) in lines}

    def _single(self, given: Sequence[Conversation]) -> Conversation | None:
        """A conversation whose opening was not held with the other contestant yet."""
        openings = Counter(each.opening for each in given)
        return next((each for each in given if openings[each.opening] == 1), None)

    def _first(self, person: Person, evaluation: LiveEvaluation, opening: str, given: Sequence[Conversation]) -> str:
        """Minimisation: the contestant that came first less often for the opening, then for the person, then a hash."""
        sides = (evaluation.contestant, evaluation.rival)
        rows = self._store.rows(
            "SELECT contestant FROM conversations c WHERE evaluation = ? AND opening = ? AND ordinal = (SELECT "
            "min(ordinal) FROM conversations WHERE person = c.person AND evaluation = c.evaluation "
            "AND opening = c.opening)",
            evaluation.name,
            opening,
        )
        firsts: dict[str, Conversation] = {}
        for each in given:
            firsts.setdefault(each.opening, each)
        own = Counter(each.contestant for each in firsts.values())
        for counts in (Counter(str(contestant) for (contestant,) in rows), own):
            if counts[sides[0]] != counts[sides[1]]:
                return min(sides, key=lambda side: counts[side])
        return sides[stable_hash(self._study.settings.seed, "talk", person.pseudonym, evaluation.name, opening) % 2]

    def _start(
        self, person: Person, evaluation: LiveEvaluation, opening: str, contestant: str, ordinal: int
    ) -> Conversation:
        started = Conversation(uuid.uuid4().hex, person.id, evaluation.name, opening, contestant, ordinal, False)
        with self._store.writing() as database:
            database.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                [started.id, person.id, evaluation.name, opening, contestant, ordinal, time.time()],
            )
        return started

    # --- pairs ---

    def _pairs(self, person: Person, evaluation: LiveEvaluation) -> list[tuple[Conversation, Conversation]]:
        held: dict[str, list[Conversation]] = {}
        for each in self._given(person, evaluation):
            held.setdefault(each.opening, []).append(each)
        return [(pair[0], pair[1]) for pair in held.values() if len(pair) == 2 and all(each.ended for each in pair)]

    def _pairs_without_preference(self, person: Person, evaluation: LiveEvaluation) -> bool:
        judged = self._judged_pairs(person, evaluation)
        return any(_pair_question(pair) not in judged for pair in self._pairs(person, evaluation))

    def _judged_pairs(self, person: Person, evaluation: LiveEvaluation) -> set[str]:
        return {a.question for a, saved in self._store.assignments(person, evaluation.name) if saved is not None}

    def _open_pair(self, person: Person, evaluation: LiveEvaluation, given: list[Conversation]) -> Pair | None:
        judged = self._judged_pairs(person, evaluation)
        pair = next((p for p in self._pairs(person, evaluation) if _pair_question(p) not in judged), None)
        if pair is None:
            return None
        question = _pair_question(pair)
        known = [a for a, _ in self._store.assignments(person, evaluation.name) if a.question == question]
        return Pair(known[0] if known else self._assign(person, evaluation.name, question, pair[0].contestant), pair)

    def _assign(self, person: Person, evaluation: str, question: str, first: str | None) -> Assignment:
        ordinal = self._store.last_ordinal(person, evaluation) + 1
        made = Assignment(uuid.uuid4().hex, person.id, evaluation, question, "main", ordinal, first, None, time.time())
        self._store.assign(made)
        return made

    # --- exchanges ---

    def conversation(self, id_: str, person: Person) -> Conversation:
        """A conversation of this person. Raises StudyError for another's or an unknown one."""
        rows = self._store.rows(f"{CONVERSATION} WHERE id = ? AND person = ?", id_, person.id)
        if not rows:
            raise StudyError("unknown conversation; reload the page")
        return _conversation(rows[0])

    def exchanges(self, conversation: Conversation) -> list[Exchange]:
        rows = self._store.rows(
            "SELECT turn, asked, response, attempt, assignment FROM exchanges WHERE conversation = ? ORDER BY turn",
            conversation.id,
        )
        return [Exchange(*row) for row in rows]  # type: ignore[arg-type]

    def say(self, conversation: Conversation, *, turn: int, request: str, text: str) -> Exchange:
        """Store the person's turn; it is on disk when this returns. The same request again changes nothing.

        Raises:
            Conflict: the conversation has another number of exchanges, for example from a second tab.
            StudyError: the turn is empty or too long, or the conversation has ended.
        """
        evaluation = self.evaluations[conversation.evaluation]
        said = evaluation.openings[conversation.opening] if turn == 0 else text.strip()
        if not said:
            raise StudyError("the message is empty; write one")
        if len(said) > self.settings.max_chars and turn:
            raise StudyError(f"the message has {len(said)} characters; shorten it to {self.settings.max_chars}")
        with self._store.writing() as database:
            known = self.exchanges(conversation)
            repeated = database.execute(
                "SELECT turn FROM exchanges WHERE request = ? AND conversation = ?", [request, conversation.id]
            ).fetchone()
            if repeated:
                return known[int(repeated[0])]
            if len(known) != turn:
                raise Conflict("this conversation continued, for example in another tab; this message was not sent")
            if self._is_ended(database, conversation):
                raise StudyError("this conversation has ended; reload the page")
            if turn >= self.settings.exchanges:
                raise StudyError(f"a conversation has at most {self.settings.exchanges} exchanges; end it")
            if known and not self._is_graded(database, known[-1]):
                raise StudyError(NOT_GRADED)
            database.execute(
                "INSERT INTO exchanges VALUES (?, ?, ?, ?, NULL, 0, NULL)", [conversation.id, turn, request, said]
            )
        return Exchange(turn, said, None, 0, None)

    def messages(self, conversation: Conversation) -> tuple[Turn, ...]:
        """The turns up to the person's last one."""
        turns: list[Turn] = []
        for exchange in self.exchanges(conversation):
            turns.append(Turn(role="user", content=exchange.asked))
            if exchange.response is not None:
                turns.append(Turn(role="assistant", content=exchange.response))
        return tuple(turns)

    def next_attempt(self, conversation: Conversation, turn: int) -> Exchange:
        """Count another attempt at a response that failed. Raises Conflict if there is a response meanwhile."""
        with self._store.writing() as database:
            changed = database.execute(
                "UPDATE exchanges SET attempt = attempt + 1 WHERE conversation = ? AND turn = ? AND response IS NULL",
                [conversation.id, turn],
            ).rowcount
            if not changed:
                raise Conflict("this message has an answer meanwhile; reload the page")
        return self.exchanges(conversation)[turn]

    def record_response(self, person: Person, conversation: Conversation, turn: int, text: str) -> None:
        """Store a finished response; it is on disk when this returns. A second one is ignored."""
        with self._store.writing() as database:
            exchanges = self.exchanges(conversation)
            if turn >= len(exchanges) or exchanges[turn].response is not None:
                return  # withdrawn, or answered by an earlier attempt
            made = self._assign(person, conversation.evaluation, f"{conversation.id}/{turn}", None)
            database.execute(
                "UPDATE exchanges SET response = ?, assignment = ? WHERE conversation = ? AND turn = ?",
                [text, made.id, conversation.id, turn],
            )

    def end(self, conversation: Conversation) -> None:
        """End a conversation; the last response must have a grade. A message without a response is left out."""
        with self._store.writing() as database:
            answered = [each for each in self.exchanges(conversation) if each.response is not None]
            if not answered:
                raise StudyError("this conversation has no answer yet; send the opening")
            if not self._is_graded(database, answered[-1]):
                raise StudyError(NOT_GRADED)
            database.execute("UPDATE conversations SET ended = 1 WHERE id = ?", [conversation.id])

    def _is_ended(self, database: sqlite3.Connection, conversation: Conversation) -> bool:
        row = database.execute("SELECT ended FROM conversations WHERE id = ?", [conversation.id]).fetchone()
        return bool(row and row[0])

    def _is_graded(self, database: sqlite3.Connection, exchange: Exchange) -> bool:
        if exchange.assignment is None:
            return False
        return bool(database.execute("SELECT 1 FROM judgments WHERE assignment = ?", [exchange.assignment]).fetchone())

    # --- grades and preferences ---

    def grade(
        self,
        person: Person,
        conversation: Conversation,
        turn: int,
        submitted: Submitted,
        *,
        off_subject: bool,
    ) -> Saved:
        """Store the grade of a response; it is on disk when this returns."""
        exchanges = self.exchanges(conversation)
        if turn >= len(exchanges) or exchanges[turn].assignment is None:
            raise StudyError("this answer is not finished; wait for it")
        exchange = exchanges[turn]
        assignment, _ = self._store.assignment(str(exchange.assignment), person)
        graded = validated(submitted, assignment, GRADE_VALUES)
        assert exchange.response is not None
        live = LiveExchange(asked=exchange.asked, response=exchange.response)
        digest = hashlib.sha256(exchange.response.encode()).hexdigest()
        return self._save(
            person,
            conversation,
            assignment,
            replace(graded, reason=OFF_SUBJECT) if off_subject else graded,
            record={"task": "dialogue", "turn": turn, "texts": digest, "exchange": live},
        )

    def prefer(self, person: Person, assignment: Assignment, submitted: Submitted) -> Saved:
        """Store the preference between two conversations; it is on disk when this returns."""
        evaluation = self.evaluations.get(assignment.evaluation)
        if evaluation is None:
            raise StudyError("unknown pair of conversations; reload the page")
        pair = next((p for p in self._pairs(person, evaluation) if _pair_question(p) == assignment.question), None)
        if pair is None:
            raise StudyError("unknown pair of conversations; reload the page")
        preferred = validated(submitted, assignment, PREFERENCES)
        outcome = value = preferred.value
        if value in ("first", "second"):
            outcome = "win" if (value == "first") == (assignment.first == evaluation.contestant) else "lose"
        ours = sorted(pair, key=lambda each: each.contestant != evaluation.contestant)
        texts = "\0".join("\0".join(turn.content for turn in self.messages(each)) for each in ours)
        return self._save(
            person,
            ours[0],
            assignment,
            preferred,
            record={
                "task": "pairwise",
                "rival": evaluation.rival,
                "texts": hashlib.sha256(texts.encode()).hexdigest(),
                "value": outcome,
            },
        )

    def _save(
        self,
        person: Person,
        conversation: Conversation,
        assignment: Assignment,
        submitted: Submitted,
        *,
        record: Mapping[str, object],
    ) -> Saved:
        item = {
            "evaluation": conversation.evaluation,
            "prompt_id": conversation.opening,
            "sample": 0,
            "contestant": conversation.contestant,
            **record,
        }
        return self._store.save(
            assignment,
            submitted,
            line=lambda saved: annotation(person, assignment, saved, **item).model_dump_json(),
        )


CONVERSATION = "SELECT id, person, evaluation, opening, contestant, ordinal, ended FROM conversations"


def _conversation(row: tuple[object, ...]) -> Conversation:
    return Conversation(*row[:6], bool(row[6]))  # type: ignore[arg-type, call-arg]


def _pair_question(pair: tuple[Conversation, Conversation]) -> str:
    return f"pair/{pair[0].opening}"
