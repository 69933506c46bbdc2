"""Recorded judgments as an annotator: those of AlpacaEval, MT-Bench or Arena-Hard about the responses of an evaluation.

A judgment counts if it is about both contestants, in either order, and about a prompt and sample of the evaluation.
AlpacaEval's files have the judged texts, which must be those of the contestants.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lima.config.entries import Evaluation, RecordedAnnotator
from lima.errors import LimaError
from lima.evaluation import exchange
from lima.evaluation.exchange import RecordedJudgment
from lima.evaluation.items import Item
from lima.records import Judgment

SWAPPED = {"win": "lose", "lose": "win"}


@dataclass(frozen=True)
class Recorded:
    """The judgments in the order of the items, and how many of the file's do not count."""

    judgments: list[Judgment]
    other_pairs: int  # about other contestants
    other_responses: int  # about another sample, or other texts
    unjudged: int  # items without a judgment


def judge(
    items: Sequence[Item], *, evaluation: Evaluation, key: str, name: str, annotator: RecordedAnnotator
) -> Recorded:
    """Read the judgments of an evaluation's items.

    Args:
        key: the evaluation's key in params.yaml.
        name: the annotator's key in its panel.

    Raises:
        LimaError: the file has no judgment of the contestants, or none of their responses.
    """
    path = Path(annotator.reads)
    ours = {annotator.names.get(side, side): side for side in (evaluation.contestant, evaluation.rival)}
    theirs = {side: recorded for recorded, side in ours.items()}
    prompts = list({item.prompt.id: item.prompt for item in items}.values())
    read = exchange.read_judgments(path, prompts, evaluation=key, annotator=name, rival=theirs[evaluation.rival])
    about_pair = [found for found in read if {found.judgment.contestant, found.judgment.rival} == ours.keys()]
    if not about_pair:
        pairs = Counter(f"{found.judgment.contestant} and {found.judgment.rival}" for found in read)
        shown = ", ".join(pair for pair, _ in pairs.most_common(3))
        raise LimaError(
            f"{path} has no judgment of {' and '.join(ours)}; it has those of {shown}; write the names of the "
            f"contestants in the file into `names` of the annotator {name} in params.yaml"
        )
    by_position = {(i.response.prompt_id, i.response.sample, i.response.turn): i for i in items}
    judgments = {}
    for found in about_pair:
        record = _renamed(found.judgment, ours, evaluation)
        position = (record.prompt_id, record.sample, record.turn)
        item = by_position.get(position)
        if item is not None and _same_texts(item, found, theirs):
            judgments[position] = record
    if not judgments:
        raise LimaError(
            f"none of the {len(about_pair)} judgments of {' and '.join(ours)} in {path} is about their responses; "
            "record the judged responses as contestants of kind recorded"
        )
    return Recorded(
        judgments=[judgments[position] for position in by_position if position in judgments],
        other_pairs=len(read) - len(about_pair),
        other_responses=len(about_pair) - len(judgments),
        unjudged=len(by_position) - len(judgments),
    )


def _renamed(judgment: Judgment, ours: Mapping[str, str], evaluation: Evaluation) -> Judgment:
    """The judgment from the side of the evaluation's contestant, with the names of params.yaml."""
    value = judgment.value
    if ours[judgment.contestant] != evaluation.contestant:
        value = SWAPPED.get(value or "", value)
    replies = [reply.model_copy(update={"first": ours[reply.first or ""]}) for reply in judgment.replies]
    changes = {
        "contestant": evaluation.contestant,
        "rival": evaluation.rival,
        "value": value,
        "replies": tuple(replies),
    }
    return judgment.model_copy(update=changes)


def _same_texts(item: Item, found: RecordedJudgment, theirs: Mapping[str, str]) -> bool:
    return all(
        found.texts.get(theirs[response.contestant], response.text).strip() == response.text.strip()
        for response in item.responses
    )
