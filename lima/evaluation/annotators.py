"""Annotators: people, language models, rules or baselines that judge the items of an evaluation (LIMA §4)."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from lima import chat_types, jsonl
from lima.chat_types import ChatRequest, ChatResponse, NoReply
from lima.config.entries import (
    BaselineAnnotator,
    EndpointAnnotator,
    Evaluation,
    PeopleAnnotator,
)
from lima.config.sections import Judge
from lima.errors import LimaError
from lima.evaluation import baselines, pairwise, templates, verdicts
from lima.evaluation.items import Item
from lima.evaluation.tasks import TASKS
from lima.evaluation.templates import PromptTemplate
from lima.records import Annotation, JudgeReply, Judgment, MissingReason, Task

GREEDY = 0.0  # temperature: the most likely reply, so that a repeated request has the same result
Value = tuple[str | None, MissingReason | None, str]  # value, reason without a value, detail


def annotate(
    items: Sequence[Item],
    *,
    evaluation: Evaluation,
    key: str,
    name: str,
    annotator: BaselineAnnotator | PeopleAnnotator | EndpointAnnotator,
    judge: Judge,
    annotations: Path,
    done: Callable[[], object],
    cache_path: Path | None = None,
) -> list[Judgment]:
    """Return an annotator's judgments in the order of the items; people may judge an item several times or not at all.

    Args:
        key: the evaluation's key in params.yaml.
        name: the annotator's key in its panel.
        annotations: file with people's judgments of this evaluation.
        done: called after each item.
        cache_path: file of the response cache; None for the configured one.

    Raises:
        TooManyFailures: more requests without a reply than `judge.max_failed_share` allows.
        EndpointError: the server answers no request.
    """
    match annotator:
        case PeopleAnnotator():
            return _by_people(items, evaluation=evaluation, key=key, name=name, path=annotations)
        case BaselineAnnotator():
            replies: Sequence[tuple[JudgeReply, ...]] = _by_baseline(items, annotator, seed=judge.seed, done=done)
        case EndpointAnnotator():
            replies = asyncio.run(
                _by_model(items, annotator, evaluation=evaluation, judge=judge, cache_path=cache_path, done=done)
            )
    return [
        judgment(item, evaluation, key, name, _value(item, each), each)
        for item, each in zip(items, replies, strict=True)
    ]


def _value(item: Item, replies: Sequence[JudgeReply]) -> Value:
    if len(item.responses) > 1:
        return *pairwise.combine(item.response.contestant, replies), ""
    (reply,) = replies
    return reply.value, reply.reason, ""


def judgment(
    item: Item, evaluation: Evaluation, key: str, name: str, value: Value, replies: Sequence[JudgeReply]
) -> Judgment:
    """Build the record of one annotator's judgment of an item."""
    response = item.response
    return Judgment(
        evaluation=key,
        task=evaluation.task,
        annotator=name,
        prompt_id=response.prompt_id,
        sample=response.sample,
        turn=response.turn,
        contestant=response.contestant,
        rival=item.rival.contestant if evaluation.task == "pairwise" else None,
        value=value[0],
        reason=value[1],
        detail=value[2],
        replies=tuple(replies),
    )


def _each(items: Sequence[Item], done: Callable[[], object]) -> Iterator[Item]:
    for item in items:
        yield item
        done()


def _by_baseline(
    items: Sequence[Item], annotator: BaselineAnnotator, *, seed: int, done: Callable[[], object]
) -> list[pairwise.Replies]:
    decide = baselines.rule(annotator, seed=seed)
    return [baselines.judge(item.response, item.rival, decide) for item in _each(items, done)]


def texts_digest(item: Item) -> str:
    """SHA-256 of the responses of an item, hexadecimal, which ties an annotation to the texts that were judged."""
    return hashlib.sha256("\0".join(response.text for response in item.responses).encode()).hexdigest()


def _by_people(items: Sequence[Item], *, evaluation: Evaluation, key: str, name: str, path: Path) -> list[Judgment]:
    """Read the judgments of people about these texts. Repeated items, attention checks, adjudications and stale texts
    are left out.

    Raises:
        LimaError: the file is missing.
    """
    if not path.exists():
        raise LimaError(f"{path} not found; create an empty file, or judge the items with `lima annotate --only {key}`")
    by_position = {
        (r.contestant, r.prompt_id, r.sample, r.turn): (item, texts_digest(item))
        for item in items
        if (r := item.response)
    }
    judgments = []
    for annotation in jsonl.read(path, Annotation):
        position = (annotation.contestant, annotation.prompt_id, annotation.sample, annotation.turn)
        item, digest = by_position.get(position, (None, ""))
        if item is None or annotation.kind != "main" or annotation.texts != digest:
            continue
        value: Value = (annotation.value, None if annotation.value else "skipped", annotation.reason)
        reply = JudgeReply(first=annotation.first, value=annotation.value, text=annotation.comment)
        record = judgment(item, evaluation, key, name, value, [reply])
        judgments.append(record.model_copy(update={"person": annotation.person}))
    return judgments


def stale_annotations(items: Sequence[Item], path: Path) -> int:
    """Number of main annotations in a file that are about other texts than those of the items."""
    digests = {texts_digest(item) for item in items}
    return sum(a.kind == "main" and a.texts not in digests for a in jsonl.read(path, Annotation))


async def _by_model(
    items: Sequence[Item],
    annotator: EndpointAnnotator,
    *,
    evaluation: Evaluation,
    judge: Judge,
    cache_path: Path | None,
    done: Callable[[], object],
) -> list[tuple[JudgeReply, ...]]:
    """Ask a model about every item, about pairs in both orders; cached replies are not requested again."""
    from lima.inference import chat_session  # imports openai, which takes a second and which baselines do not need

    orders_of_items = requests(items, annotator, evaluation, seed=judge.seed)
    async with chat_session.session(
        annotator,
        judge,
        stage="judge",
        total=sum(map(len, orders_of_items)),
        description=annotator.model,
        cache_path=cache_path,
    ) as session:

        async def judged(orders: Sequence[tuple[str | None, ChatRequest]]) -> tuple[JudgeReply, ...]:
            replies = [_reply(shown, await session.complete(request), evaluation.task) for shown, request in orders]
            done()
            return tuple(replies)

        return await session.gather([partial(judged, orders) for orders in orders_of_items])


def requests(
    items: Sequence[Item], annotator: EndpointAnnotator, evaluation: Evaluation, *, seed: int
) -> list[list[tuple[str | None, ChatRequest]]]:
    """Return the requests of each item, as `item_requests` does."""
    template = templates.load(evaluation.template, evaluation.task)
    return [item_requests(item, annotator, evaluation.task, template, seed=seed) for item in items]


def item_requests(
    item: Item, annotator: EndpointAnnotator, task: Task, template: PromptTemplate, *, seed: int
) -> list[tuple[str | None, ChatRequest]]:
    """Return the requests for an item, each with the contestant shown first (None for a single response).

    Decoding is greedy.
    """
    options = chat_types.options(
        annotator.send, annotator.extra, max_tokens=annotator.max_tokens, temperature=GREEDY, top_p=1.0, seed=seed
    )
    orders = [item.responses, item.responses[::-1]] if TASKS[task].pairwise else [item.responses]
    made: list[tuple[str | None, ChatRequest]] = []
    for responses in orders:
        fields = templates.fields(task, item.prompt.messages, [response.text for response in responses])
        turns = templates.turns(template, fields, system_turn=annotator.system_turn)
        shown = responses[0].contestant if len(responses) > 1 else None
        made.append((shown, ChatRequest(model=annotator.model, messages=turns, options=options, attempt=0)))
    return made


def _reply(shown: str | None, reply: ChatResponse | NoReply, task: Task) -> JudgeReply:
    match reply:
        case NoReply():
            return JudgeReply(first=shown, value=None, text="", reason=reply.reason, detail=reply.detail)
        case ChatResponse(finish="length"):
            return JudgeReply(first=shown, value=None, text=reply.text, reason="truncated", usage=reply.usage)
        case _:
            value = verdicts.parse(reply.text, TASKS[task].labels)
            reason: MissingReason | None = None if value else "unparsed"
            return JudgeReply(first=shown, value=value, text=reply.text, reason=reason, usage=reply.usage)


def without_value(judgments: Sequence[Judgment]) -> Counter[str]:
    """Count the replies without a value by reason; judgments without a reply, such as those of rules, count once."""
    reasons: Counter[str] = Counter()
    for judgment in judgments:
        missing = [reply.reason or "unparsed" for reply in judgment.replies if reply.value is None]
        reasons.update(missing or ([judgment.reason] if judgment.reason and not judgment.replies else []))
    return reasons
