"""Sample the dev, test and adversarial prompts and the scripted dialogues: `python -m lima.stages.prompts`."""

from collections.abc import Mapping

from lima import config, jsonl, storage
from lima.curation import prompt_selection
from lima.errors import run_command
from lima.records import Prompt


def sample(counts: Mapping[str, int], *, seed: int) -> list[Prompt]:
    """Sample prompts without replacement.

    Args:
        counts: number of prompts by SOURCE or SOURCE/SITE.
        seed: of the sampling.
    """
    prompts: list[Prompt] = []
    for group, count in counts.items():
        source = group.split("/", 1)[0]
        offered = jsonl.read(storage.result_dir("filter", source) / "prompts.jsonl", Prompt)
        prompts += prompt_selection.draw(offered, group, count, seed=seed, selected=prompts)
    return prompts


@storage.alone("prompts")
def main() -> None:
    params = config.load().prompts
    dev, test, adversarial, dialogues = (
        sample(counts, seed=params.seed) for counts in (params.dev, params.test, params.adversarial, params.dialogues)
    )
    prompt_selection.check_disjoint(dev, test + adversarial + dialogues)
    prompt_selection.check_kinds({"dev": dev, "test": test, "adversarial": adversarial}, dialogues)
    with storage.publish("prompts") as folder:
        jsonl.write(folder / "dev.jsonl", dev)
        jsonl.write(folder / "test.jsonl", test)
        jsonl.write(folder / "adversarial.jsonl", adversarial)
        jsonl.write(folder / "dialogues.jsonl", dialogues)
    print(f"prompts: {len(dev)} dev, {len(test)} test, {len(adversarial)} adversarial, {len(dialogues)} dialogues")


if __name__ == "__main__":
    run_command(main)
