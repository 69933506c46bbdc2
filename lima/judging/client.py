"""A model behind an OpenAI-compatible endpoint as an annotator's voice: a text goes in, its reply comes back."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from lima.judging.store import Store, digest
from lima.params.entries import EndpointAnnotator
from lima.protocol import Ask, Question
from lima.records import Turn

GREEDY = 0.0  # temperature: the likeliest reply, so that asking again would say the same


def remembering(annotator: EndpointAnnotator, *, ask: Ask, store: Store, seed: int) -> Callable[[str], Awaitable[str]]:
    """A function that asks the model, and asks for nothing that the store knows or that is being asked right now."""
    in_turn: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def complete(text: str) -> str:
        question = Question(
            model=annotator.model,
            messages=(Turn(role="user", content=text),),
            max_tokens=annotator.max_tokens,
            temperature=GREEDY,
            top_p=1.0,
            seed=seed,
        )
        async with in_turn[digest(annotator.url, question)]:
            reply = store.get(annotator.url, question)
            if reply is None:
                reply = await ask(question)
                store.put(annotator.url, question, reply)
        return reply.text

    return complete
