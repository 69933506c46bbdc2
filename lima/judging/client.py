"""A model behind an OpenAI-compatible endpoint as an annotator: a text goes in, its reply comes back."""

from collections.abc import Awaitable, Callable

from lima import protocol
from lima.params.entries import EndpointAnnotator
from lima.protocol import Ask, FailureLimit, NoReply, Question, Reply
from lima.records import Turn

GREEDY = 0.0  # temperature: the likeliest reply, so that asking again would say the same


def completing(
    annotator: EndpointAnnotator, *, ask: Ask, seed: int, limit: FailureLimit
) -> Callable[[str], Awaitable[Reply | NoReply]]:
    """A function that sends a text as the user's turn; texts without a reply are counted by `limit`."""
    options = protocol.options(
        annotator.send, annotator.extra, max_tokens=annotator.max_tokens, temperature=GREEDY, top_p=1.0, seed=seed
    )

    async def complete(text: str) -> Reply | NoReply:
        turns = (Turn(role="user", content=text),)
        reply = await ask(Question(model=annotator.model, messages=turns, options=options, attempt=0))
        if isinstance(reply, NoReply):
            limit.count(reply)
        return reply

    return complete
