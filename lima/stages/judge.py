"""Judgments of an evaluation by the annotators of its panel (LIMA §4): `python -m lima.stages.judge EVALUATION`."""

from collections.abc import Sequence

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.chat_types import counts
from lima.config.entries import PeopleAnnotator, RulesAnnotator
from lima.errors import LimaError, run_command
from lima.evaluation import items, rules
from lima.evaluation.annotators import annotate, stale_annotations, without_value
from lima.evaluation.items import Items
from lima.inference import response_cache
from lima.records import Judgment


@storage.alone("judge")
def main(key: str) -> None:
    params = config.load()
    evaluation = config.entry(params.evaluations, "evaluation", key)
    judged = items.read(evaluation, seed=params.judge.seed)
    if not judged.items:
        sides = (evaluation.contestant, evaluation.rival)
        files = " and ".join(str(storage.responses(side, evaluation.prompts)) for side in sides)
        raise LimaError(f"evaluation {key}: {' and '.join(sides)} have no answered prompt in common; see {files}")
    panel = params.panels[evaluation.panel]
    judgments: dict[str, list[Judgment]] = {}
    # people and models judge only those attacks that the rules cannot decide
    asked = [item for item in judged.items if evaluation.task != "attack" or rules.is_undecided(item)]
    with tqdm(total=len(asked) * len(panel), desc=key, disable=None) as bar:
        for name, annotator in panel.items():
            if isinstance(annotator, RulesAnnotator):
                judgments[name] = rules.judge(judged.items, evaluation=evaluation, key=key, name=name)
                continue
            judgments[name] = annotate(
                asked,
                evaluation=evaluation,
                key=key,
                name=name,
                annotator=annotator,
                judge=params.judge,
                cache_path=response_cache.path(),
                annotations=storage.annotations(key),
                done=bar.update,
            )
    with storage.publish("judge", key) as folder:
        for name, records in judgments.items():
            jsonl.write(folder / name / "judgments.jsonl", records)
    for line in messages(key, judged, judgments):
        print(line)
    if any(isinstance(annotator, PeopleAnnotator) for annotator in panel.values()):
        stale = stale_annotations(judged.items, storage.annotations(key))
        if stale:
            print(
                f"{key}: {stale} annotations in {storage.annotations(key)} are about other responses and do not count"
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
    for name, records in judgments.items():
        reasons = without_value(records)
        if reasons:
            replies = sum(max(1, len(record.replies)) for record in records)
            lines.append(f"{key}: {reasons.total()} of {replies} judgments of {name} have no value: {counts(reasons)}")
    total = sum(map(len, judgments.values()))
    return [*lines, f"{key}: {total} judgments of {', '.join(judgments)} on {len(judged.items)} items"]


if __name__ == "__main__":
    run_command(main)
