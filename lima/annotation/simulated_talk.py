"""Conversations of simulated people with real contestants, for demonstrations. Their grades are random numbers."""

from collections.abc import Mapping

from lima.annotation.contestant_replies import Reply
from lima.annotation.conversations import PREFERENCES, Conversation, Conversations, LiveEvaluation, Pair
from lima.annotation.crowd import SimulatedPerson
from lima.annotation.store import Person, Submitted
from lima.curation import hashing
from lima.evaluation.tasks import GRADE_VALUES

FOLLOW_UPS = (
    "Can you say that again in two sentences?",
    "Which of these steps would you take first, and why?",
    "What does that cost, roughly?",
    "What is the most common mistake?",
    "Give me one example.",
)


def hold(
    conversations: Conversations,
    people: list[SimulatedPerson],
    replies: Mapping[str, Reply],
    *,
    exchanges: int,
    seed: int,
) -> int:
    """Let simulated people hold every conversation that the study gives them. Returns the number of conversations.

    Each grade and preference is drawn by a hash of person and conversation.

    Args:
        replies: by contestant.
        exchanges: of each conversation; at most those of the study.
    """
    count = 0
    for evaluation in conversations.evaluations.values():
        for simulated in people:
            person = conversations.simulated_person(simulated.name)
            while (current := conversations.next(person, evaluation)) is not None:
                if isinstance(current, Pair):
                    _prefer(conversations, person, current, seed=seed)
                    continue
                _converse(conversations, person, evaluation, current, replies, exchanges=exchanges, seed=seed)
                count += 1
    return count


def _converse(
    conversations: Conversations,
    person: Person,
    evaluation: LiveEvaluation,
    conversation: Conversation,
    replies: Mapping[str, Reply],
    *,
    exchanges: int,
    seed: int,
) -> None:
    for turn in range(min(exchanges, conversations.settings.exchanges)):
        key = f"{person.pseudonym}:{conversation.opening}:{conversation.contestant}:{turn}"
        text = FOLLOW_UPS[int(hashing.hash_uniform(seed, f"follow-up:{key}") * len(FOLLOW_UPS))]
        conversations.say(conversation, turn=turn, request=f"simulated:{conversation.id}:{turn}", text=text)
        identity = f"{person.pseudonym}/{conversation.opening}"
        pieces = replies[conversation.contestant](conversations.messages(conversation), identity, 0)
        conversations.record_response(person, conversation, turn, "".join(pieces))
        value = GRADE_VALUES[int(hashing.hash_uniform(seed, f"grade:{key}") * len(GRADE_VALUES))]
        graded = Submitted(0, f"simulated-grade:{conversation.id}:{turn}", value)
        conversations.grade(person, conversation, turn, graded, off_subject=False)
    conversations.end(conversation)


def _prefer(conversations: Conversations, person: Person, pair: Pair, *, seed: int) -> None:
    key = f"preference:{person.pseudonym}:{pair.conversations[0].opening}"
    value = PREFERENCES[int(hashing.hash_uniform(seed, key) * len(PREFERENCES))]
    conversations.prefer(person, pair.assignment, Submitted(0, f"simulated:{pair.assignment.id}", value))
