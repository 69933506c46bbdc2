"""Draw the dev, test and adversarial prompts from what the filters left to ask: `python -m lima.stages.prompts`."""

from collections.abc import Mapping

from lima import config, jsonl, storage
from lima.curation import prompt_selection
from lima.errors import run_command
from lima.records import Prompt


def drawn(counts: Mapping[str, int], *, seed: int) -> list[Prompt]:
    prompts: list[Prompt] = []
    for group, count in counts.items():
        source = group.split("/", 1)[0]
        offered = jsonl.read(storage.result_dir("filter", source) / "prompts.jsonl", Prompt)
        prompts += prompt_selection.draw(offered, group, count, seed=seed, selected=prompts)
    return prompts


@storage.alone("prompts")
def main() -> None:
    p = config.load().prompts
    dev, test, adversarial = (drawn(counts, seed=p.seed) for counts in (p.dev, p.test, p.adversarial))
    prompt_selection.check_disjoint(dev, test + adversarial)
    with storage.publish("prompts") as folder:
        jsonl.write(folder / "dev.jsonl", dev)
        jsonl.write(folder / "test.jsonl", test)
        jsonl.write(folder / "adversarial.jsonl", adversarial)
    print(f"prompts: {len(dev)} dev, {len(test)} test, {len(adversarial)} adversarial")


if __name__ == "__main__":
    run_command(main)
