"""Have annotators say whose answers are better: `python -m lima.stages.judge COMPARISON`."""

from tqdm import tqdm

from lima import config, jsonl, storage
from lima.chat_types import counts
from lima.errors import LimaError, run_command
from lima.evaluation.annotators import annotate, pairs, without_vote
from lima.records import Prompt, Response, Verdict


@storage.alone("judge")
def main(comparison: str) -> None:
    p = config.load()
    compared = config.entry(p.comparisons, "comparison", comparison)
    prompts = list(jsonl.read(storage.result_dir("prompts") / "test.jsonl", Prompt))
    sides = [compared.contestant, compared.rival]
    answers = [list(jsonl.read(storage.result_dir("sample", side) / "responses.jsonl", Response)) for side in sides]
    shown = pairs(prompts, *answers)
    if not shown:
        raise LimaError(
            f"comparison {comparison}: there is no prompt that both {sides[0]} and {sides[1]} answer; "
            f"look at data/sample/{sides[0]}/responses.jsonl and data/sample/{sides[1]}/responses.jsonl"
        )
    said: list[Verdict] = []
    with tqdm(total=len(shown) * len(p.judge.annotators), desc=comparison, disable=None) as bar:
        for name in p.judge.annotators:
            annotator = config.entry(p.annotators, "annotator", name)
            said += annotate(
                shown,
                comparison=comparison,
                name=name,
                annotator=annotator,
                judge=p.judge,
                cache_path=storage.REPLIES,
                done=bar.update,
            )
    with storage.publish("judge", comparison) as folder:
        written = jsonl.write(folder / "verdicts.jsonl", said)
    for side, given in zip(sides, answers, strict=True):
        missing = len({prompt.id for prompt in prompts} - {response.prompt_id for response in given})
        if missing:
            print(f"{comparison}: {missing} of {len(prompts)} prompts are left out: {side} has no answer to them")
    for name in p.judge.annotators:
        mute = without_vote([verdict for verdict in said if verdict.annotator == name])
        if mute:
            print(f"{comparison}: {mute.total()} of {2 * len(shown)} ballots of {name} say nothing: {counts(mute)}")
    print(f"{comparison}: {written} verdicts of {', '.join(p.judge.annotators)} on {len(shown)} pairs of answers")


if __name__ == "__main__":
    run_command(main)
