"""Answers from any OpenAI-compatible server (LIMA §4).

The protocol has no repetition penalty, and servers that take one as an extra also count the prompt's tokens; so none is
sent, and a checkpoint of ours answers as the paper has it only when sampled from its folder.
"""

import hashlib
from collections.abc import Callable, Sequence

from lima.params.sections import Decoding
from lima.protocol import Ask, Question, every
from lima.records import Prompt, Response


async def respond(
    prompts: Sequence[Prompt],
    *,
    model: str,
    contestant: str,
    samples: int,
    concurrency: int,
    decoding: Decoding,
    ask: Ask,
    done: Callable[[], object],
) -> list[Response]:
    """Every prompt's answers, in the prompts' order; `done` is called after each."""

    async def one(prompt: Prompt, sample: int) -> Response:
        reply = await ask(question(prompt, sample, model=model, decoding=decoding))
        return Response(
            prompt_id=prompt.id,
            contestant=contestant,
            sample=sample,
            text=reply.text,
            finish=reply.finish,
            tokens=reply.tokens,
        )

    jobs = [lambda p=prompt, s=sample: one(p, s) for prompt in prompts for sample in range(samples)]
    return await every(jobs, concurrency=concurrency, done=done)


def question(prompt: Prompt, sample: int, *, model: str, decoding: Decoding) -> Question:
    """With a seed of its own for every prompt and sample; a server that ignores seeds answers all the same."""
    digest = hashlib.sha256(f"{decoding.seed}/{prompt.id}/{sample}".encode()).digest()
    return Question(
        model=model,
        messages=prompt.messages,
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=int.from_bytes(digest[:4], "big") >> 1,  # 31 bits, which every server takes
    )
