"""Responses from an OpenAI-compatible server (LIMA §4).

The protocol has no repetition penalty. Servers that accept one as an extra option also count the tokens of the prompt,
so none is sent. To decode a checkpoint as in the paper, sample it from its folder.
"""

import hashlib
from collections.abc import Sequence

from lima import chat_types
from lima.chat_types import ChatRequest, ChatResponse, NoReply
from lima.config.entries import EndpointContestant
from lima.config.sections import Decoding
from lima.records import Prompt, Response, Unanswered
from lima.text import reasoning_blocks


def chat_requests(
    prompts: Sequence[Prompt], *, served: EndpointContestant, samples: int, decoding: Decoding
) -> list[ChatRequest]:
    """Build the requests for every sample of every prompt, in the order of the prompts."""
    return [
        chat_request(prompt, sample, served=served, decoding=decoding)
        for prompt in prompts
        for sample in range(samples)
    ]


def response(prompt: Prompt, sample: int, reply: ChatResponse | NoReply, *, contestant: str) -> Response | Unanswered:
    """Return the record of a reply: the response, or the reason why it is missing."""
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
        tokens=reply.usage.completion_tokens,
        usage=reply.usage,
    )


def chat_request(prompt: Prompt, sample: int, *, served: EndpointContestant, decoding: Decoding) -> ChatRequest:
    """Build a request with a seed derived from (seed, prompt id, sample)."""
    digest = hashlib.sha256(f"{decoding.seed}/{prompt.id}/{sample}".encode()).digest()
    options = chat_types.options(
        served.send,
        served.extra,
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=int.from_bytes(digest[:4], "big") >> 1,  # 31 bits, which every server accepts
    )
    return ChatRequest(model=served.model, messages=prompt.messages, options=options, attempt=sample)
