"""Judgments of an evaluation by the annotators of its panel (LIMA §4): `python -m lima.stages.judge EVALUATION`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.chat_types import counts
from lima.config.entries import (
    Annotator,
    EndpointAnnotator,
    Evaluation,
    PeopleAnnotator,
    RecordedAnnotator,
    RulesAnnotator,
)
from lima.config.sections import Judge
from lima.errors import LimaError, run_command
from lima.evaluation import annotators, canaries, items, live_conversations, recorded_judgments, rules
from lima.evaluation.annotators import annotate, stale_annotations, without_value
from lima.evaluation.canaries import Canary, CanaryResult
from lima.evaluation.items import Item, Items
from lima.evaluation.recorded_judgments import Recorded
from lima.inference import recorded
from lima.records import Annotation, Judgment, Prompt


@dataclass(frozen=True)
class Judged:
    """The judgments of one annotator, with its canaries, or with what does not count of a recorded file."""

    judgments: list[Judgment]
    canaries: list[CanaryResult] = field(default_factory=list)
    recorded: Recorded | None = None


@storage.alone("judge")
def main(key: str) -> None:
    params = config.load()
    evaluation = config.entry(params.evaluations, "evaluation", key)
    judged = read_items(key, evaluation, seed=params.judge.seed)
    if not judged.items and evaluation.prompts != "conversations":
        sides = (evaluation.contestant, evaluation.rival)
        files = " and ".join(str(storage.responses(side, evaluation.prompts)) for side in sides)
        raise LimaError(f"evaluation {key}: {' and '.join(sides)} have no answered prompt in common; see {files}")
    panel = params.panels[evaluation.panel]
    asked = without_rules(judged, evaluation)
    models = sum(isinstance(annotator, EndpointAnnotator) for annotator in panel.values())
    tests = read_canaries(evaluation, params.judge) if models else []
    with tqdm(total=len(asked) * len(panel) + len(tests) * models, desc=key, disable=None) as bar:
        by_annotator = {
            name: judge(key, name, annotator, evaluation, judged, asked, tests, params.judge, done=bar.update)
            for name, annotator in panel.items()
        }
    judgments = {name: with_simulated(key, found.judgments) for name, found in by_annotator.items()}
    with storage.publish("judge", key) as folder:
        for name, found in by_annotator.items():
            jsonl.write(folder / name / "judgments.jsonl", judgments[name])
            jsonl.write(folder / name / "canaries.jsonl", found.canaries)
            if evaluation.prompts == "conversations":
                jsonl.write(folder / name / "preferences.jsonl", preferences(key, name, panel[name]))
    people = any(isinstance(annotator, PeopleAnnotator) for annotator in panel.values())
    for line in (
        *messages(key, judged, judgments),
        *uncounted(key, by_annotator, items=len(judged.items)),
        *(stale(key, judged) if people and evaluation.prompts != "conversations" else ()),
    ):
        print(line)


def judge(
    key: str,
    name: str,
    annotator: Annotator,
    evaluation: Evaluation,
    judged: Items,
    asked: Sequence[Item],
    tests: Sequence[Canary],
    settings: Judge,
    *,
    done: Callable[[], object],
) -> Judged:
    """Collect the judgments of one annotator of the panel.

    Args:
        judged: all items; rules and recorded judgments are about these.
        asked: the items that rules leave to other annotators.
        tests: canaries, for models only.
        done: called after each item.
    """
    match annotator:
        case RulesAnnotator():
            return Judged(rules.judge(judged.items, evaluation=evaluation, key=key, name=name))
        case RecordedAnnotator():
            found = recorded_judgments.judge(
                judged.items, evaluation=evaluation, key=key, name=name, annotator=annotator
            )
            return Judged(found.judgments, recorded=found)
        case PeopleAnnotator() if evaluation.prompts == "conversations":
            return Judged(live_conversations.grades(read_annotations(key), key=key, annotator=name))
    known = tests if isinstance(annotator, EndpointAnnotator) else []
    records = annotate(
        [*asked, *(Item(canary.prompt, canary.responses) for canary in known)],
        evaluation=evaluation,
        key=key,
        name=name,
        annotator=annotator,
        judge=settings,
        annotations=storage.annotations(key),
        done=done,
    )
    own = len(records) - len(known)  # not len(asked): people may judge an item several times, or not at all
    return Judged(records[:own], canaries.evaluate(known, records[own:]))


def with_simulated(key: str, records: list[Judgment]) -> list[Judgment]:
    """Mark the judgments of simulated people."""
    if not any(record.person for record in records):
        return records
    simulated = {annotation.person for annotation in read_annotations(key) if annotation.simulated}
    return [record.model_copy(update={"simulated": record.person in simulated}) for record in records]


def read_items(key: str, evaluation: Evaluation, *, seed: int) -> Items:
    """The items of an evaluation: sampled responses, or the responses of live conversations, if there are any yet."""
    if evaluation.prompts != "conversations":
        return items.read(evaluation, seed=seed)
    return live_conversations.items(read_annotations(key))


def read_annotations(key: str) -> list[Annotation]:
    """People's annotations of an evaluation. Raises LimaError if their file is missing."""
    path = storage.annotations(key)
    if not path.exists():
        raise LimaError(f"{path} not found; create an empty file, or run `lima annotate --only {key}`")
    return list(jsonl.read(path, Annotation))


def preferences(key: str, name: str, annotator: Annotator) -> list[Judgment]:
    """People's preferences between paired live conversations; none of other annotators."""
    if not isinstance(annotator, PeopleAnnotator):
        return []
    return live_conversations.preferences(read_annotations(key), key=key, annotator=name)


def without_rules(judged: Items, evaluation: Evaluation) -> list[Item]:
    """The items for other annotators than rules: undecided attacks, and prompts with constraints."""
    match evaluation.task:
        case "attack":
            return [item for item in judged.items if rules.is_undecided(item)]
        case "constraint":
            return [item for item in judged.items if item.prompt.constraints]
        case _:
            return judged.items


def cost(key: str) -> str:
    """Return a line for each model of an evaluation: calls, tokens and cost of its missing replies, as an estimate."""
    from lima.inference import chat_session  # imports openai

    params = config.load()
    evaluation = config.entry(params.evaluations, "evaluation", key)
    judged = read_items(key, evaluation, seed=params.judge.seed)
    asked = without_rules(judged, evaluation)
    canary_items = [Item(canary.prompt, canary.responses) for canary in read_canaries(evaluation, params.judge)]
    lines = []
    for name, annotator in params.panels[evaluation.panel].items():
        if isinstance(annotator, EndpointAnnotator):
            requests = annotators.requests([*asked, *canary_items], annotator, evaluation, seed=params.judge.seed)
            flat = [request for orders in requests for _, request in orders]
            lines.append(f"{key}, {name}: {chat_session.estimate(flat, annotator)}")
    return "\n".join(lines) or f"{key}: no model in the panel {evaluation.panel}, so it costs nothing"


def read_canaries(evaluation: Evaluation, judge: Judge) -> list[Canary]:
    """The canaries of an evaluation on the test prompts.

    Other prompts have no reference answers, and the task constraint has no canaries.
    """
    if evaluation.prompts != "test" or evaluation.task == "constraint" or not judge.canaries.per_kind:
        return []
    prompts = list(jsonl.read(storage.result_dir("prompts") / "test.jsonl", Prompt))
    references = recorded.read(Path(judge.canaries.references), prompts, contestant=canaries.REFERENCE)
    return canaries.build(
        evaluation.task, prompts, references, seed=judge.seed, per_kind=judge.canaries.per_kind, trusted=True
    )


def messages(key: str, judged: Items, judgments: dict[str, list[Judgment]]) -> Sequence[str]:
    """Lines about missing responses, unusable judgments and the result."""
    lines = [
        f"{key}: {len(missing)} prompts are skipped: no response of {name} ({missing[0]}, …)"
        for name, missing in judged.unanswered.items()
    ]
    if judged.incomplete:
        prompt, sample, _ = judged.incomplete[0]
        lines.append(
            f"{key}: {len(judged.incomplete)} samples are skipped: the other contestant has none "
            f"(sample {sample} of {prompt}, …)"
        )
    if not judged.items:
        lines.append(f"{key}: no live conversations yet; hold them with `lima annotate --only {key}`")
    for name, records in judgments.items():
        reasons = without_value(records)
        if reasons:
            replies = sum(max(1, len(record.replies)) for record in records)
            lines.append(f"{key}: {reasons.total()} of {replies} judgments of {name} have no value: {counts(reasons)}")
    total = sum(map(len, judgments.values()))
    return [*lines, f"{key}: {total} judgments of {', '.join(judgments)} on {len(judged.items)} items"]


def uncounted(key: str, by_annotator: Mapping[str, Judged], *, items: int) -> Iterator[str]:
    """Lines about recorded judgments that do not count, and about items without one."""
    for name, judged in by_annotator.items():
        found = judged.recorded
        if found and (found.unjudged or found.other_pairs or found.other_responses):
            yield (
                f"{key}: recorded judgments of {name}: {found.unjudged} of {items} items have none; "
                f"{found.other_pairs} are about other contestants and {found.other_responses} about other responses, "
                "and do not count"
            )


def stale(key: str, judged: Items) -> Iterator[str]:
    """A line about people's annotations of responses that have been sampled again."""
    path = storage.annotations(key)
    if number := stale_annotations(judged.items, path):
        yield f"{key}: {number} annotations in {path} are about other responses and do not count"


if __name__ == "__main__":
    run_command(main)
