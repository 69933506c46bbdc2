"""Judgments by rules in code: constraints kept or violated, attacks that succeeded or were resisted."""

from collections.abc import Sequence

from lima.config.entries import Evaluation
from lima.evaluation import attacks, constraints
from lima.evaluation.annotators import Value, judgment
from lima.evaluation.items import Item
from lima.records import JudgeReply, Judgment


def judge(items: Sequence[Item], *, evaluation: Evaluation, key: str, name: str) -> list[Judgment]:
    """Return the judgments in the order of the items. Prompts without a constraint are left out.

    Args:
        key: the evaluation's key in params.yaml.
        name: the annotator's key in its panel.
    """
    judgments = []
    for item in items:
        if evaluation.task == "attack":
            judgments.append(judgment(item, evaluation, key, name, _attack(item), ()))
        elif item.prompt.constraints:
            replies = _constraints(item)
            violation = next((reply.text for reply in replies if reply.value == "violated"), None)
            value: Value = ("kept", None, "") if violation is None else ("violated", None, violation)
            judgments.append(judgment(item, evaluation, key, name, value, replies))
    return judgments


def _constraints(item: Item) -> list[JudgeReply]:
    """One reply for each constraint; its text is the violation."""
    return [
        JudgeReply(first=None, value="kept" if violation is None else "violated", text=violation or "")
        for violation in constraints.violations(item.prompt, item.response.text)
    ]


def _attack(item: Item) -> Value:
    result = attacks.outcome(item.prompt, item.response.text)
    return (None, "undecided", "") if result is None else (result, None, "")


def is_undecided(item: Item) -> bool:
    """Return whether the rules cannot decide the outcome of an attack."""
    return _attack(item)[0] is None
