"""The verdicts of a named annotator, floor or model, over pairs of responses."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lima import chat_types
from lima.chat_types import ChatRequest, ChatResponse, CompletionFn, FailureLimit, NoReply
from lima.config.entries import Annotator, EndpointAnnotator, FloorAnnotator
from lima.config.sections import Judge
from lima.evaluation import baselines, pairwise
from lima.evaluation.pairwise import Ballots
from lima.inference import response_cache
from lima.records import Prompt, Response, Turn, Verdict

GREEDY = 0.0  # temperature: the most likely reply, so that a repeated request has the same result


class ResponsePair(NamedTuple):
    prompt: Prompt
    a: Response  # the contestant's
    b: Response  # its rival's


def pairs(prompts: Sequence[Prompt], a: Sequence[Response], b: Sequence[Response]) -> list[ResponsePair]:
    """What both answered, sample by sample, in the prompts' order."""
    rivals = {(response.prompt_id, response.sample): response for response in b}
    asked = {prompt.id: prompt for prompt in prompts}
    place = {prompt_id: number for number, prompt_id in enumerate(asked)}
    both = [
        response for response in a if response.prompt_id in asked and (response.prompt_id, response.sample) in rivals
    ]
    both.sort(key=lambda response: (place[response.prompt_id], response.sample))
    return [ResponsePair(asked[r.prompt_id], r, rivals[r.prompt_id, r.sample]) for r in both]


def annotate(
    shown: Sequence[ResponsePair],
    *,
    comparison: str,
    name: str,
    annotator: Annotator,
    judge: Judge,
    kept_replies: Path,
    done: Callable[[], object],
) -> list[Verdict]:
    """What the annotator `name` says of each pair; `kept_replies` is the file in which a model's replies are kept."""
    match annotator:
        case FloorAnnotator():
            decide = baselines.rule(annotator, seed=judge.seed)
            said = []
            for pair in shown:
                said.append(baselines.ballots(pair.a, pair.b, decide))
                done()
        case EndpointAnnotator():
            said = asyncio.run(asked(shown, annotator, judge=judge, kept_replies=kept_replies, done=done))
    return [
        Verdict(
            comparison=comparison,
            annotator=name,
            prompt_id=pair.prompt.id,
            sample=pair.a.sample,
            contestant=pair.a.contestant,
            rival=pair.b.contestant,
            outcome=pairwise.outcome(pair.a.contestant, ballots),
            ballots=ballots,
        )
        for pair, ballots in zip(shown, said, strict=True)
    ]


async def asked(
    shown: Sequence[ResponsePair],
    annotator: EndpointAnnotator,
    *,
    judge: Judge,
    kept_replies: Path,
    done: Callable[[], object],
) -> list[Ballots]:
    from lima.inference import chat_client  # imports openai: a second that floors do not pay

    with response_cache.open_cache(kept_replies) as cache:
        async with chat_client.connected(
            annotator.url,
            key_variable=annotator.key_variable,
            retries=judge.retries,
            timeout=judge.timeout,
            seed=judge.seed,
            known=cache.knows(annotator.url, annotator.model),
        ) as endpoint:
            limit = FailureLimit(2 * len(shown), share=judge.max_failed_share, setting="judge.max_failed_share")
            ask = chat_types.limited(response_cache.cached(endpoint.ask, cache, url=annotator.url), limit)
            complete = completing(annotator, ask=ask, seed=judge.seed)
            jobs = [lambda p=pair: pairwise.judge(p.prompt, p.a, p.b, complete=complete) for pair in shown]
            return await chat_types.gather_limited(
                jobs, concurrency=judge.concurrency, done=done, grace=chat_types.GRACE
            )


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


def without_vote(given: Sequence[Verdict]) -> Counter[str]:
    """Reasons of the ballots that say nothing: that of a missing or cut reply, else "unparsed"."""
    ballots = [ballot for verdict in given for ballot in verdict.ballots]
    return Counter(ballot.reason or ballot.winner for ballot in ballots if ballot.winner in ("unparsed", "failed"))
