"""Rules for conversations that are used unchanged: hand-written examples and released data sets (LIMA §2.2)."""

from collections.abc import Iterable

from lima.config.sections import Filter
from lima.curation import decisions
from lima.curation.decisions import Convert, Outcome, Outcomes
from lima.records import Candidate, Example, Prompt, Turn, is_script

# Readers of texts that the project's authors wrote and reviewed. Addresses, other languages and near duplicates in them
# are intentional, for example in adversarial prompts.
HAND_WRITTEN = frozenset(("authored", "adversarial"))


def outcomes(
    candidates: Iterable[Candidate], *, settings: Filter, to_markdown: Convert, to_marked: Convert
) -> Outcomes:
    """The rules of a source of conversations, which have no thresholds."""
    return ((candidate, decide(candidate, to_markdown=to_markdown)) for candidate in candidates)


def unfiltered(candidate: Candidate, *, settings: Filter, to_markdown: Convert, to_marked: Convert) -> Outcome:
    """The conversation without quality filters."""
    return decide(candidate, to_markdown=to_markdown)


def decide(candidate: Candidate, *, to_markdown: Convert) -> Outcome:
    """Example if the last turn is the assistant's, Prompt if it is the user's.

    The turns alternate, except in a scripted dialogue, where all are the user's.
    """
    turns = messages(candidate, to_markdown=to_markdown)
    empty = [f"turn {number}, {turn.role}" for number, turn in enumerate(turns, start=1) if not turn.content.strip()]
    if empty:
        return decisions.dropped(candidate, "empty_text", ", ".join(empty))
    roles = [turn.role for turn in turns]
    dialogue = roles[roles[0] == "system" :]
    alternating = [("user", "assistant")[number % 2] for number in range(len(dialogue))]
    if dialogue != (["user"] * len(dialogue) if is_script(candidate) else alternating):
        return decisions.dropped(candidate, "turns_do_not_alternate", " ".join(roles))
    if roles[-1] == "assistant":
        return Example(id=candidate.id, messages=turns, tags=candidate.tags, provenance=candidate.provenance)
    return Prompt(
        id=candidate.id,
        messages=turns,
        tags=candidate.tags,
        provenance=candidate.provenance,
        constraints=candidate.constraints,
    )


def messages(candidate: Candidate, *, to_markdown: Convert) -> tuple[Turn, ...]:
    """The turns: optional system turn, title and description as one prompt, response, later turns.

    A candidate without response and later turns has no assistant turn, and neither has a scripted dialogue.
    """
    description = to_markdown(candidate, candidate.description)
    prompt = "\n\n".join(part for part in (candidate.title, description) if part.strip())
    turns = [Turn(role="user", content=prompt)]
    if not is_script(candidate) and (candidate.response or candidate.later_turns):
        turns.append(Turn(role="assistant", content=to_markdown(candidate, candidate.response)))
    system = (Turn(role="system", content=candidate.system),) if candidate.system.strip() else ()
    return (*system, *turns, *candidate.later_turns)
