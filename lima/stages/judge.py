"""Judgments of an evaluation by the annotators of its panel (LIMA §4): `python -m lima.stages.judge EVALUATION`."""

from collections.abc import Sequence
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
    judgments: dict[str, list[Judgment]] = {}
    results: dict[str, list[CanaryResult]] = {}
    read: dict[str, Recorded] = {}
    asked = without_rules(judged, evaluation)
    models = sum(isinstance(annotator, EndpointAnnotator) for annotator in panel.values())
    tests = read_canaries(evaluation, params.judge) if models else []
    with tqdm(total=len(asked) * len(panel) + len(tests) * models, desc=key, disable=None) as bar:
        for name, annotator in panel.items():
            if isinstance(annotator, RulesAnnotator):
                judgments[name] = rules.judge(judged.items, evaluation=evaluation, key=key, name=name)
                continue
            if isinstance(annotator, RecordedAnnotator):
                read[name] = recorded_judgments.judge(
                    judged.items, evaluation=evaluation, key=key, name=name, annotator=annotator
                )
                judgments[name] = read[name].judgments
                continue
            if isinstance(annotator, PeopleAnnotator) and evaluation.prompts == "conversations":
                judgments[name] = live_conversations.grades(read_annotations(key), key=key, annotator=name)
                continue
            known = tests if isinstance(annotator, EndpointAnnotator) else []
            records = annotate(
                [*asked, *(Item(canary.prompt, canary.responses) for canary in known)],
                evaluation=evaluation,
                key=key,
                name=name,
                annotator=annotator,
                judge=params.judge,
                annotations=storage.annotations(key),
                done=bar.update,
            )
            judgments[name] = records[: len(records) - len(known)]
            results[name] = canaries.evaluate(known, records[len(records) - len(known) :])
    judgments = {name: with_simulated(key, records) for name, records in judgments.items()}
    with storage.publish("judge", key) as folder:
        for name, records in judgments.items():
            jsonl.write(folder / name / "judgments.jsonl", records)
            jsonl.write(folder / name / "canaries.jsonl", results.get(name, []))
            if evaluation.prompts == "conversations":
                jsonl.write(folder / name / "preferences.jsonl", preferences(key, name, panel[name]))
    for line in messages(key, judged, judgments):
        print(line)
    for name, found in read.items():
        if found.unjudged or found.other_pairs or found.other_responses:
            print(
                f"{key}: recorded judgments of {name}: {found.unjudged} of {len(judged.items)} items have none; "
                f"{found.other_pairs} are about other contestants and {found.other_responses} about other responses, "
                "and do not count"
            )
    if evaluation.prompts != "conversations" and any(isinstance(a, PeopleAnnotator) for a in panel.values()):
        stale = stale_annotations(judged.items, storage.annotations(key))
        if stale:
            print(
                f"{key}: {stale} annotations in {storage.annotations(key)} are about other responses and do not count"
            )


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


if __name__ == "__main__":
    run_command(main)
