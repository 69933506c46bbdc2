"""A model behind an OpenAI-compatible endpoint as an annotator: a text goes in, its reply comes back."""

from collections.abc import Awaitable, Callable

from lima import chat_types
from lima.chat_types import ChatRequest, ChatResponse, CompletionFn, NoReply
from lima.config.entries import EndpointAnnotator
from lima.records import Turn

GREEDY = 0.0  # temperature: the likeliest reply, so that asking again would say the same


def completing(
    annotator: EndpointAnnotator, *, ask: CompletionFn, seed: int
) -> Callable[[str], Awaitable[ChatResponse | NoReply]]:
    """A function that sends a text as the user's turn."""
    options = chat_types.options(
        annotator.send, annotator.extra, max_tokens=annotator.max_tokens, temperature=GREEDY, top_p=1.0, seed=seed
    )

    async def complete(text: str) -> ChatResponse | NoReply:
        turns = (Turn(role="user", content=text),)
        return await ask(ChatRequest(model=annotator.model, messages=turns, options=options, attempt=0))

    return complete
