"""Examples that are taken as they were written: the authors' own, and released sets (LIMA §2.2)."""

from collections.abc import Callable

from lima.curation import decisions
from lima.curation.decisions import Outcome
from lima.records import Candidate, Example, Prompt, Turn

# readers of what the project's own people wrote and reviewed: an address or a second language stands there on purpose,
# as in a prompt that tries a model, and so do twins that differ in a word
HAND_WRITTEN = frozenset(("authored", "suite"))


def decide(candidate: Candidate, *, to_markdown: Callable[[Candidate, str], str]) -> Outcome:
    """An example if the assistant speaks last, a prompt if the user does."""
    turns = messages(candidate, to_markdown=to_markdown)
    empty = [f"turn {number}, {turn.role}" for number, turn in enumerate(turns, start=1) if not turn.content.strip()]
    if empty:
        return decisions.dropped(candidate, "empty_text", ", ".join(empty))
    roles = [turn.role for turn in turns]
    spoken = roles[roles[0] == "system" :]
    if spoken != [("user", "assistant")[number % 2] for number in range(len(spoken))]:
        return decisions.dropped(candidate, "turns_do_not_alternate", " ".join(roles))
    kind = Example if roles[-1] == "assistant" else Prompt
    return kind(id=candidate.id, messages=turns, tags=candidate.tags, provenance=candidate.provenance)


def messages(candidate: Candidate, *, to_markdown: Callable[[Candidate, str], str]) -> tuple[Turn, ...]:
    """The turns, a system turn first where there is one. Title and description are one prompt.

    Without a response and later turns, nobody has answered yet.
    """
    description = to_markdown(candidate, candidate.description)
    asked = "\n\n".join(part for part in (candidate.title, description) if part.strip())
    turns = [Turn(role="user", content=asked)]
    if candidate.response or candidate.later_turns:
        turns.append(Turn(role="assistant", content=to_markdown(candidate, candidate.response)))
    system = (Turn(role="system", content=candidate.system),) if candidate.system.strip() else ()
    return (*system, *turns, *candidate.later_turns)
