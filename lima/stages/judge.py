"""Pairwise comparison of two contestants by annotators (LIMA §4): `python -m lima.stages.judge COMPARISON`."""

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.chat_types import counts
from lima.errors import LimaError, run_command
from lima.evaluation.annotators import annotate, pairs, without_vote
from lima.records import Prompt, Response, Verdict


@storage.alone("judge")
def main(comparison: str) -> None:
    params = config.load()
    compared = config.entry(params.comparisons, "comparison", comparison)
    prompts = list(jsonl.read(storage.result_dir("prompts") / "test.jsonl", Prompt))
    sides = [compared.contestant, compared.rival]
    answers = [list(jsonl.read(storage.result_dir("sample", side) / "responses.jsonl", Response)) for side in sides]
    shown = pairs(prompts, *answers)
    if not shown:
        raise LimaError(
            f"comparison {comparison}: {sides[0]} and {sides[1]} have no answered prompt in common; "
            f"see data/sample/{sides[0]}/responses.jsonl and data/sample/{sides[1]}/responses.jsonl"
        )
    verdicts: list[Verdict] = []
    with tqdm(total=len(shown) * len(params.judge.annotators), desc=comparison, disable=None) as bar:
        for name in params.judge.annotators:
            annotator = config.entry(params.annotators, "annotator", name)
            verdicts += annotate(
                shown,
                comparison=comparison,
                name=name,
                annotator=annotator,
                judge=params.judge,
                cache_path=storage.REPLIES,
                done=bar.update,
            )
    with storage.publish("judge", comparison) as folder:
        written = jsonl.write(folder / "verdicts.jsonl", verdicts)
    for side, responses in zip(sides, answers, strict=True):
        missing = len({prompt.id for prompt in prompts} - {response.prompt_id for response in responses})
        if missing:
            print(f"{comparison}: {missing} of {len(prompts)} prompts are skipped: no response of {side}")
    for name in params.judge.annotators:
        unusable = without_vote([verdict for verdict in verdicts if verdict.annotator == name])
        if unusable:
            print(
                f"{comparison}: {unusable.total()} of {2 * len(shown)} judgments of {name} are unusable: "
                f"{counts(unusable)}"
            )
    print(f"{comparison}: {written} verdicts of {', '.join(params.judge.annotators)} on {len(shown)} pairs of answers")


if __name__ == "__main__":
    run_command(main)
