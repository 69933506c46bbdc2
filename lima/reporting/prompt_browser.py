"""Page with every prompt, its answers, the judgments and the judges' own words, with filters (LIMA §4)."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from markupsafe import escape

from lima.config import Params
from lima.display import visible
from lima.evaluation.pairwise import outcome
from lima.evaluation.statistics.estimates import Numbers
from lima.records import JudgeReply, Judgment, Prompt, Response
from lima.reporting import templating
from lima.reporting.breakdown import labels
from lima.reporting.dialogues import Place, given_grades, note
from lima.reporting.measures import Evaluations, Measured
from lima.reporting.results import Results

CUT_MARK = 80  # bytes of the note about a cut text
LETTERS = {"win": "W", "tie": "T", "lose": "L"}


@dataclass(frozen=True)
class Text:
    """An untrusted text, cut if the page would be too large."""

    shown: str
    hidden: int  # characters that are not shown


@dataclass(frozen=True)
class Answer:
    asked: Text | None  # the user's turn before a response in a dialogue; None for other prompts
    note: str  # sample, tokens, truncated
    grades: tuple[tuple[str, str], ...]  # of a dialogue: annotator and grade
    text: Text


@dataclass(frozen=True)
class AnswerColumn:
    """One contestant's answer to one prompt, or its responses in one dialogue."""

    contestant: str
    trace: str  # id for `lima trace`
    answers: tuple[Answer, ...]  # in the order of the turns


@dataclass(frozen=True)
class Words:
    """One reply of an annotator."""

    verdict: str
    text: Text


@dataclass(frozen=True)
class Opinion:
    """One judgment as the page shows it."""

    evaluation: str
    annotator: str
    is_baseline: bool
    is_usable: bool
    subject: str  # CONTESTANT against RIVAL, or CONTESTANT
    value: str  # or why there is none
    words: tuple[Words, ...]


@dataclass(frozen=True)
class Chip:
    """Outcomes of one pairwise evaluation by people and models, in the order of the panel."""

    rival: str
    letters: str
    differ: bool


@dataclass(frozen=True)
class Entry:
    number: int  # from 1
    prompt: Prompt
    is_dialogue: bool
    labels: tuple[str, ...]
    columns: tuple[AnswerColumn, ...]
    opinions: tuple[Opinion, ...]  # of people, models and rules
    baselines: tuple[Opinion, ...]
    chips: tuple[Chip, ...]
    outcomes: str  # EVALUATION|ANNOTATOR|VALUE; … with the positions of the first two, for the filters
    disagreements: int  # items about which people and models differ
    net: int  # wins − losses of the contestants, by people and models


def render(p: Params, results: Results, evaluations: Evaluations, *, max_bytes: int) -> str:
    """Render the page. If it is larger than `max_bytes`, the longest texts are cut to one length so that it fits."""
    html = _render(p, results, evaluations, limit=None)
    if len(html.encode()) <= max_bytes:
        return html
    texts = list(_texts(results))
    characters = np.array([len(text) for text in texts], float)
    sizes = np.array([len(str(escape(visible(text))).encode()) for text in texts], float)
    limit = cut_length(characters, sizes, max_bytes - (len(html.encode()) - sizes.sum()))
    while limit and len((html := _render(p, results, evaluations, limit=limit)).encode()) > max_bytes:
        limit = limit * 9 // 10  # the beginnings of texts take more bytes per character than their means
    return html


def cut_length(characters: Numbers, sizes: Numbers, available: float) -> int:
    """The largest number of characters to which texts can be cut so that they take about `available` bytes.

    Args:
        characters: of each text.
        sizes: bytes of each text in the page.
    """
    low, high = 0, int(characters.max(initial=0))
    density = sizes / np.maximum(characters, 1)
    while low < high:
        middle = (low + high + 1) // 2
        cut = characters > middle
        if np.sum(np.where(cut, middle * density + CUT_MARK, sizes)) <= available:
            low = middle
        else:
            high = middle - 1
    return low


def _texts(results: Results) -> Iterator[str]:
    for responses in results.every_response().values():
        yield from (response.text for response in responses)
    for by_annotator in results.judgments.values():
        for judgments in by_annotator.values():
            yield from (reply.text for judgment in judgments for reply in judgment.replies if reply.text)


def _render(p: Params, results: Results, evaluations: Evaluations, *, limit: int | None) -> str:
    script = resources.files("lima.reporting").joinpath("templates", "browser.js").read_text(encoding="utf-8")
    names = list(evaluations)
    annotators = list(dict.fromkeys(annotator for by in evaluations.values() for annotator in by))
    rows = list(entries(p, results, evaluations, limit=limit))
    values = {value for row in rows for token in row.outcomes.split(";") if (value := token.split("|")[-1])}
    return templating.render(
        "answers.html",
        p=p,
        entries=rows,
        evaluations=names,
        annotators=annotators,
        kinds=sorted({label for row in rows for label in row.labels}),
        values=sorted(values, key=lambda value: (":" in value, value)),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        limit=limit,
    )


def entries(p: Params, results: Results, evaluations: Evaluations, *, limit: int | None) -> Iterator[Entry]:
    """One entry for each prompt with an answer: the test prompts, then the adversarial ones and the dialogues.

    Args:
        limit: characters to which each text is cut, None for no limit.
    """
    answers: dict[str, dict[tuple[str, int], list[Response]]] = {}
    for name, responses in results.every_response().items():
        for response in responses:
            by_sample = answers.setdefault(response.prompt_id, {})
            by_sample.setdefault((name, response.sample), []).append(response)
    grades = given_grades(results, evaluations)
    judged: dict[str, list[tuple[Measured, Judgment]]] = {}
    for name, by_annotator in evaluations.items():
        for annotator, measured in by_annotator.items():
            for judgment in results.judgments[name][annotator]:
                judged.setdefault(judgment.prompt_id, []).append((measured, judgment))
    scripts = {script.id for script in results.dialogues}
    every = (*results.test, *results.adversarial, *results.dialogues)
    prompts = [prompt for prompt in every if prompt.id in answers]
    names = {name: str(position) for position, name in enumerate(evaluations)}
    annotators = list(dict.fromkeys(annotator for by in evaluations.values() for annotator in by))
    for number, prompt in enumerate(prompts, start=1):
        pairs = judged.get(prompt.id, [])
        read = [(measured, judgment) for measured, judgment in pairs if measured.kind != "baseline"]
        yield Entry(
            number=number,
            prompt=prompt,
            is_dialogue=prompt.id in scripts,
            labels=tuple(labels(prompt)),
            columns=tuple(
                _column(prompt, responses, grades, limit, is_dialogue=prompt.id in scripts)
                for responses in answers[prompt.id].values()
            ),
            opinions=tuple(_opinion(measured, judgment, limit) for measured, judgment in read),
            baselines=tuple(_opinion(m, judgment, limit) for m, judgment in pairs if m.kind == "baseline"),
            chips=tuple(_chips(read)),
            outcomes=";".join(
                dict.fromkeys(
                    f"{names[m.evaluation]}|{annotators.index(m.annotator)}|{_value(m, judgment)}"
                    for m, judgment in pairs
                )
            ),
            disagreements=_disagreements(read),
            net=sum({"win": 1, "lose": -1}.get(judgment.value or "", 0) for _, judgment in read),
        )


def _cut(text: str, limit: int | None) -> Text:
    return Text(text, 0) if limit is None or len(text) <= limit else Text(text[:limit], len(text) - limit)


def _column(
    prompt: Prompt,
    responses: Sequence[Response],
    grades: Mapping[Place, tuple[tuple[str, str], ...]],
    limit: int | None,
    *,
    is_dialogue: bool,
) -> AnswerColumn:
    """The responses of one contestant and sample; those of a dialogue with the turns before them."""
    first = responses[0]
    asked = [turn.content for turn in prompt.messages if turn.role == "user"] if is_dialogue else []
    return AnswerColumn(
        contestant=first.contestant,
        trace=f"{first.contestant}:{prompt.id}#{first.sample}",
        answers=tuple(
            Answer(
                asked=_cut(asked[response.turn], None) if is_dialogue else None,
                note=note(response),
                grades=grades.get((response.contestant, prompt.id, response.sample, response.turn), ()),
                text=_cut(response.text, limit),
            )
            for response in sorted(responses, key=lambda response: response.turn)
        ),
    )


def _value(measured: Measured, judgment: Judgment) -> str:
    """The value for the filter; of a single response with its contestant."""
    if measured.task == "pairwise":
        return outcome(judgment)
    return f"{judgment.contestant}: {judgment.value or judgment.reason}"


def _opinion(measured: Measured, judgment: Judgment, limit: int | None) -> Opinion:
    against = f" against {judgment.rival}" if judgment.rival else ""
    place = f", sample {judgment.sample + 1}" if judgment.sample else ""
    turn = f", response {judgment.turn + 1}" if judgment.turn else ""
    value = judgment.value or f"no value: {judgment.reason or 'unparsed'}"
    person = f" ({judgment.person})" if judgment.person else ""
    return Opinion(
        evaluation=measured.evaluation,
        annotator=f"{measured.annotator}{person}",
        is_baseline=measured.kind == "baseline",
        is_usable=measured.usability.usable,
        subject=f"{judgment.contestant}{against}{place}{turn}",
        value=f"{value}: {judgment.detail}" if judgment.detail else value,
        words=tuple(
            Words(_verdict(judgment, reply), _cut(reply.text, limit))
            for reply in judgment.replies
            if reply.text or reply.value is None
        ),
    )


def _verdict(judgment: Judgment, reply: JudgeReply) -> str:
    """The result of one reply in words: which answer was shown first, and which is preferred."""
    shown = f"{reply.first} shown first: " if reply.first else ""
    if reply.value is None:
        detail = f" ({reply.detail})" if reply.detail else ""
        return f"{shown}{reply.reason or 'unparsed'}{detail}"
    sides: Mapping[str, str | None] = {}
    if reply.first and judgment.rival:
        second = judgment.rival if reply.first == judgment.contestant else judgment.contestant
        sides = {"first": reply.first, "second": second, "win": judgment.contestant, "lose": judgment.rival}
    return f"{shown}{sides.get(reply.value) or reply.value}"


def _chips(read: Sequence[tuple[Measured, Judgment]]) -> Iterator[Chip]:
    by_evaluation: dict[str, list[Judgment]] = {}
    for measured, judgment in read:
        if measured.task == "pairwise":
            by_evaluation.setdefault(measured.evaluation, []).append(judgment)
    for judgments in by_evaluation.values():
        letters = [LETTERS.get(judgment.value or "", "–") for judgment in judgments]
        differ = len({judgment.value for judgment in judgments if judgment.value}) > 1
        yield Chip(judgments[0].rival or "", " ".join(letters), differ)


def _disagreements(read: Sequence[tuple[Measured, Judgment]]) -> int:
    values: dict[tuple[object, ...], set[str]] = {}
    for measured, judgment in read:
        if judgment.value is not None:
            item = (measured.evaluation, judgment.sample, judgment.turn, judgment.contestant)
            values.setdefault(item, set()).add(judgment.value)
    return sum(len(different) > 1 for different in values.values())
