"""Answers from any OpenAI-compatible server (LIMA §4).

The protocol has no repetition penalty, and servers that take one as an extra also count the prompt's tokens; so none is
sent, and a checkpoint of ours answers as the paper has it only when sampled from its folder.
"""

import hashlib
from collections.abc import Callable, Sequence

from lima import chat_types
from lima.chat_types import ChatRequest, CompletionFn, NoReply, gather_limited
from lima.config.entries import EndpointContestant
from lima.config.sections import Decoding
from lima.records import Prompt, Response, Unanswered
from lima.text import reasoning_blocks


async def respond(
    prompts: Sequence[Prompt],
    *,
    served: EndpointContestant,
    contestant: str,
    samples: int,
    concurrency: int,
    decoding: Decoding,
    ask: CompletionFn,
    done: Callable[[], object],
) -> list[Response | Unanswered]:
    """Every prompt's answers, or the reason why there is none, in the prompts' order; `done` is called after each."""

    async def one(prompt: Prompt, sample: int) -> Response | Unanswered:
        reply = await ask(question(prompt, sample, served=served, decoding=decoding))
        if isinstance(reply, NoReply):
            return Unanswered(
                prompt_id=prompt.id, contestant=contestant, sample=sample, reason=reply.reason, detail=reply.detail
            )
        return Response(
            prompt_id=prompt.id,
            contestant=contestant,
            sample=sample,
            text=reasoning_blocks.without(reply.text),
            finish=reply.finish,
            finish_reason=reply.finish_reason,
            tokens=reply.tokens,
        )

    jobs = [lambda p=prompt, s=sample: one(p, s) for prompt in prompts for sample in range(samples)]
    return await gather_limited(jobs, concurrency=concurrency, done=done, grace=chat_types.GRACE)


def question(prompt: Prompt, sample: int, *, served: EndpointContestant, decoding: Decoding) -> ChatRequest:
    """With a seed of its own for every prompt and sample; a server that ignores seeds answers all the same."""
    digest = hashlib.sha256(f"{decoding.seed}/{prompt.id}/{sample}".encode()).digest()
    options = chat_types.options(
        served.send,
        served.extra,
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=int.from_bytes(digest[:4], "big") >> 1,  # 31 bits, which every server takes
    )
    return ChatRequest(model=served.model, messages=prompt.messages, options=options, attempt=sample)
