"""Scripted dialogues: a contestant answers the user's turns of a script one after the other (LIMA §6).

The history of each turn contains the contestant's own responses to the earlier ones.
"""

from collections.abc import Callable, Iterable, Sequence

from lima.errors import LimaError
from lima.records import Prompt, Response, Turn, Unanswered

Outcome = Response | Unanswered


class IncompleteDialogue(LimaError):
    """Responses that do not answer the turns of a script from the first one on. The message names the turn."""


def user_turns(script: Prompt) -> int:
    """Number of turns that a contestant answers."""
    return sum(turn.role == "user" for turn in script.messages)


def conversation(script: Prompt, replies: Sequence[str]) -> tuple[Turn, ...]:
    """Return the conversation up to the user's next turn: system turn if any, the user's turns and the replies."""
    system = tuple(turn for turn in script.messages if turn.role == "system")
    user = [turn for turn in script.messages if turn.role == "user"]
    exchanges = [
        turn
        for asked, reply in zip(user, replies, strict=False)
        for turn in (asked, Turn(role="assistant", content=reply))
    ]
    return (*system, *exchanges, user[len(replies)])


def respond(
    scripts: Sequence[Prompt], answer: Callable[[list[Prompt]], Iterable[Outcome]], *, most_turns: int
) -> list[Outcome]:
    """Return a contestant's responses, in the order of the scripts and their turns, one conversation per script.

    A dialogue ends at a turn without a response; later turns are not requested.

    Args:
        answer: returns one outcome for each prompt, in any order.
        most_turns: later turns of a script are left out.
    """
    replies: dict[str, list[str]] = {script.id: [] for script in scripts}
    outcomes: dict[tuple[str, int], Outcome] = {}
    active = list(scripts)
    for turn in range(most_turns):
        active = [script for script in active if user_turns(script) > turn and len(replies[script.id]) == turn]
        prompts = {_prompt_id(script, turn): script for script in active}
        for outcome in answer([_prompt(script, replies[script.id]) for script in active]) if active else ():
            script = prompts[outcome.prompt_id]
            outcomes[script.id, turn] = outcome.model_copy(update={"prompt_id": script.id, "turn": turn})
            if isinstance(outcome, Response):
                replies[script.id].append(outcome.text)
    positions = ((script.id, turn) for script in scripts for turn in range(most_turns))
    return [outcomes[position] for position in positions if position in outcomes]


def placeholders(scripts: Sequence[Prompt], *, most_turns: int, reply: str) -> list[Prompt]:
    """Prompts as `respond` sends them if each reply is the given text, for an estimate of what they cost."""
    return [
        _prompt(script, [reply] * turn) for script in scripts for turn in range(min(most_turns, user_turns(script)))
    ]


def check(scripts: Sequence[Prompt], responses: Iterable[Response], *, contestant: str) -> None:
    """Check that the responses to each script answer its turns from the first one on.

    Raises:
        IncompleteDialogue: a turn that the script does not have, or an earlier turn without a response.
    """
    by_id = {script.id: script for script in scripts}
    turns: dict[tuple[str, int], set[int]] = {}
    for response in responses:
        if response.prompt_id in by_id:
            turns.setdefault((response.prompt_id, response.sample), set()).add(response.turn)
    for (script, sample), answered in turns.items():
        last, most = max(answered), user_turns(by_id[script])
        if last >= most:
            raise IncompleteDialogue(
                f"response of {contestant} to turn {last} of script {script}, sample {sample}, which has turns 0 to "
                f"{most - 1}; correct the turn"
            )
        if missing := sorted(set(range(last)) - answered):
            raise IncompleteDialogue(
                f"no response of {contestant} to turn {missing[0]} of script {script}, sample {sample}, but one to "
                f"turn {last}; add it, or remove the later ones"
            )


def _prompt(script: Prompt, replies: Sequence[str]) -> Prompt:
    """The prompt for the next turn, with an id of its own, so that each turn has its own random numbers."""
    return script.model_copy(update={"id": _prompt_id(script, len(replies)), "messages": conversation(script, replies)})


def _prompt_id(script: Prompt, turn: int) -> str:
    return f"{script.id}/turn-{turn}"
