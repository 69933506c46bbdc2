"""Annotators as functions of the shown texts, and their judgments of items, for tests."""

from lima.evaluation import templates
from lima.evaluation.tasks import TASKS
from lima.evaluation.verdicts import parse
from lima.records import JudgeReply, Judgment, Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
ANSWER = "It is the {n}th of May, since the month begins on a Monday and the third Friday is asked for."


def prompts(count):
    return [
        Prompt(id=f"p{n}", messages=(Turn(role="user", content=f"Which day is it, {n}?"),), tags=(), provenance=PLACE)
        for n in range(count)
    ]


def references(count):
    return [
        Response(prompt_id=f"p{n}", contestant="authors", sample=0, text=ANSWER.format(n=n), finish="stop", tokens=None)
        for n in range(count)
    ]


def judge(task, prompt, responses, answers):
    """The judgment of an annotator that maps the answers, in the order shown, to the text of a reply."""
    definition = TASKS[task]
    orders = [responses, responses[::-1]] if definition.pairwise else [responses]
    replies = []
    for shown in orders:
        fields = templates.fields(task, prompt.messages, [response.text for response in shown])
        templates.turns(templates.load(definition.template, task), fields)
        text = answers(*[response.text for response in shown])
        value = parse(text, definition.labels)
        first = shown[0].contestant if definition.pairwise else None
        replies.append(JudgeReply(first=first, value=value, text=text, reason=None if value else "unparsed"))
    value, reason = (
        combine(replies, responses[0].contestant) if definition.pairwise else (replies[0].value, replies[0].reason)
    )
    return Judgment(
        evaluation="e",
        task=task,
        annotator="judge",
        prompt_id=prompt.id,
        sample=0,
        contestant=responses[0].contestant,
        rival=responses[1].contestant if definition.pairwise else None,
        value=value,
        reason=reason,
        replies=tuple(replies),
    )


def combine(replies, contestant):
    if any(reply.value is None for reply in replies):
        return None, "unparsed"
    sides = {
        "tie" if r.value == "tie" else "win" if (r.first == contestant) == (r.value == "first") else "lose"
        for r in replies
    }
    if sides == {"win", "lose"}:
        return None, "inconsistent"
    return ("tie" if "tie" in sides else sides.pop()), None


def good(text):
    return text.startswith("It is the")


def honest_pair(first, second):
    if good(first) == good(second):
        return "Both answer the question.\n\nVERDICT: TIE"
    return f"One of them answers the question.\n\nVERDICT: {'A' if good(first) else 'B'}"
