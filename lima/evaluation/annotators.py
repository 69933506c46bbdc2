"""Annotators: baseline rules or language models that compare pairs of responses (LIMA §4)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lima import chat_types
from lima.chat_types import ChatRequest, ChatResponse, CompletionFn, NoReply
from lima.config.entries import Annotator, EndpointAnnotator, FloorAnnotator
from lima.config.sections import Judge
from lima.evaluation import baselines, pairwise
from lima.evaluation.pairwise import JudgeFn, Judgments
from lima.records import Prompt, Response, Turn, Verdict

GREEDY = 0.0  # temperature: the most likely reply, so that a repeated request has the same result


class ResponsePair(NamedTuple):
    prompt: Prompt
    a: Response  # the contestant's
    b: Response  # the rival's


def pairs(prompts: Sequence[Prompt], a: Sequence[Response], b: Sequence[Response]) -> list[ResponsePair]:
    """Pair the responses that both contestants have, sample by sample, in the order of the prompts."""
    by_id = {prompt.id: prompt for prompt in prompts}
    position = {prompt_id: number for number, prompt_id in enumerate(by_id)}
    rivals = {(response.prompt_id, response.sample): response for response in b}
    shared = [
        response for response in a if response.prompt_id in by_id and (response.prompt_id, response.sample) in rivals
    ]
    shared.sort(key=lambda response: (position[response.prompt_id], response.sample))
    return [ResponsePair(by_id[r.prompt_id], r, rivals[r.prompt_id, r.sample]) for r in shared]


def annotate(
    shown: Sequence[ResponsePair],
    *,
    comparison: str,
    name: str,
    annotator: Annotator,
    judge: Judge,
    cache_path: Path,
    done: Callable[[], object],
) -> list[Verdict]:
    """Return the annotator's verdict on each pair, in the order of the pairs.

    Args:
        name: the annotator's key in params.yaml.
        cache_path: SQLite file in which replies of models are cached.
        done: called after each pair.

    Raises:
        TooManyFailures: more requests without a reply than `judge.max_failed_share` allows.
        EndpointError: the server answers no request.
    """
    match annotator:
        case FloorAnnotator():
            prefer = baselines.rule(annotator, seed=judge.seed)
            judgments = []
            for pair in shown:
                judgments.append(baselines.judge(pair.a, pair.b, prefer))
                done()
        case EndpointAnnotator():
            judgments = asyncio.run(_judge_pairs(shown, annotator, judge=judge, cache_path=cache_path, done=done))
    return [
        Verdict(
            comparison=comparison,
            annotator=name,
            prompt_id=pair.prompt.id,
            sample=pair.a.sample,
            contestant=pair.a.contestant,
            rival=pair.b.contestant,
            outcome=pairwise.outcome(pair.a.contestant, both),
            ballots=both,
        )
        for pair, both in zip(shown, judgments, strict=True)
    ]


async def _judge_pairs(
    shown: Sequence[ResponsePair],
    annotator: EndpointAnnotator,
    *,
    judge: Judge,
    cache_path: Path,
    done: Callable[[], object],
) -> list[Judgments]:
    """Ask a model about every pair in both orders; cached replies are not requested again."""
    from lima.inference import chat_session  # imports openai, which takes a second and which baselines do not need

    total = 2 * len(shown)
    async with chat_session.session(
        annotator, judge, stage="judge", total=total, description=annotator.model, cache_path=cache_path
    ) as session:
        complete = judge_fn(annotator, ask=session.complete, seed=judge.seed)

        async def judged(pair: ResponsePair) -> Judgments:
            judgments = await pairwise.judge(pair.prompt, pair.a, pair.b, complete=complete)
            done()
            return judgments

        return await session.gather([partial(judged, pair) for pair in shown])


def judge_fn(annotator: EndpointAnnotator, *, ask: CompletionFn, seed: int) -> JudgeFn:
    """Return a function that sends a text as a single user turn with greedy decoding."""
    options = chat_types.options(
        annotator.send, annotator.extra, max_tokens=annotator.max_tokens, temperature=GREEDY, top_p=1.0, seed=seed
    )

    async def complete(text: str) -> ChatResponse | NoReply:
        turns = (Turn(role="user", content=text),)
        return await ask(ChatRequest(model=annotator.model, messages=turns, options=options, attempt=0))

    return complete


def without_vote(verdicts: Sequence[Verdict]) -> Counter[str]:
    """Count the judgments without a choice by reason: that of a missing or truncated reply, else "unparsed"."""
    judgments = [judgment for verdict in verdicts for judgment in verdict.ballots]
    return Counter(
        judgment.reason or judgment.winner for judgment in judgments if judgment.winner in ("unparsed", "failed")
    )
